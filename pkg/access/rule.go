package access

// conjunction is conditions that must all hold. Without any it holds always.
type conjunction []condition

func (c conjunction) holds(f *facts) bool {
	for i := range c {
		if !c[i].holds(f) {
			return false
		}
	}
	return true
}

// clause is one part of a rule, such as what it says of the caller: any of its
// conjunctions must hold. Without any it never holds.
type clause []conjunction

func (c clause) holds(f *facts) bool {
	for _, conjunction := range c {
		if conjunction.holds(f) {
			return true
		}
	}
	return false
}

// rule is clauses that must all hold. Without any it holds always.
type rule []clause

func (r rule) holds(f *facts) bool {
	for _, clause := range r {
		if !clause.holds(f) {
			return false
		}
	}
	return true
}

// rules are alternatives. Without any they never hold.
type rules []rule

func (r rules) hold(f *facts) bool {
	for _, rule := range r {
		if rule.holds(f) {
			return true
		}
	}
	return false
}
