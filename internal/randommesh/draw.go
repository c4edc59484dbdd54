package randommesh

import "math/rand/v2"

// dice draws; the same seed draws the same.
type dice struct{ *rand.Rand }

func newDice(seed uint64) dice {
	// The second number only tells these draws from others of the same seed.
	return dice{rand.New(rand.NewPCG(seed, 0x6d657368))}
}

// in is true so many times out of a hundred.
func (d dice) in(percent int) bool { return d.IntN(100) < percent }

func one[T any](d dice, of ...T) T { return of[d.IntN(len(of))] }

// weighted is a value and how often it is drawn, compared with others.
type weighted[T any] struct {
	weight int
	value  T
}

func pick[T any](d dice, of []weighted[T]) T {
	sum := 0
	for _, candidate := range of {
		sum += candidate.weight
	}
	at := d.IntN(sum)
	for _, candidate := range of[:len(of)-1] {
		if at < candidate.weight {
			return candidate.value
		}
		at -= candidate.weight
	}
	return of[len(of)-1].value
}

// some draws one or two different values, most often one, as JSON has lists.
func some(d dice, of ...string) []any {
	first := d.IntN(len(of))
	values := []any{of[first]}
	if d.in(30) {
		if second := d.IntN(len(of)); second != first {
			values = append(values, of[second])
		}
	}
	return values
}
