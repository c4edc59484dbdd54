package checks_test

func observabilityCases() []testCase { return nil }
