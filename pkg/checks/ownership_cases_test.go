package checks_test

func ownershipCases() []testCase { return nil }
