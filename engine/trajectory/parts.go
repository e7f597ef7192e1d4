package trajectory

import "fmt"

// PartBytes returns how many bytes each part of a sample of so many draws has, in the order of [Sampler.Sample]: for who gives the
// memory in place of another process.
func (p *Sampler) PartBytes(draws int64) ([]int64, error) {
	if err := p.checkDraws(draws); err != nil {
		return nil, err
	}
	steps := draws * p.law.span() * max(1, p.law.Group)
	var sizes []int64
	for _, names := range [][]string{p.law.Columns, p.law.Next} {
		for _, name := range names {
			sizes = append(sizes, steps*fixedWidth(p.frame.given.Field(p.frame.given.FieldIndices(name)[0]).Type))
		}
	}
	sizes = append(sizes, 4*steps, 8*steps, 4*steps, 4*steps, steps, steps, steps)
	if p.law.Behind {
		sizes = append(sizes, 8*steps)
	}
	if p.law.Order == byPriority {
		sizes = append(sizes, 4*draws)
	}
	if p.law.Steps > 0 {
		sizes = append(sizes, 8*steps, 8*steps)
	}
	if len(sizes) != p.parts() {
		return nil, fmt.Errorf("trajectory: a sample has %d parts, of which %d have a size", p.parts(), len(sizes))
	}
	return sizes, nil
}
