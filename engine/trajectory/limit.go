package trajectory

import "math"

// Limit says when a sampler draws, by how many steps have come, and when no more should come. Without one it always does.
type Limit struct {
	// Least is how many steps there are before the first draw.
	Least int64 `json:"least"`
	// Ratio is how many draws are made for each step that comes, once there are Least, or as many as the store had at the first draw
	// if that is more; 0 for any number.
	Ratio float64 `json:"ratio"`
	// Slack is by how many draws the two may be apart from that.
	Slack float64 `json:"slack"`
}

func (l Limit) check() error {
	switch {
	case l.Least < 0 || !(l.Ratio >= 0 && l.Ratio <= math.MaxInt32) || !(l.Slack >= 0 && l.Slack <= math.MaxInt64/2):
		return invalid("limit: least is %d, ratio %g and slack %g, want 0 and more", l.Least, l.Ratio, l.Slack)
	case l.Ratio > 0 && l.Slack < max(1, l.Ratio):
		return invalid("limit: slack is %g, want at least that of one draw and of one step, %g", l.Slack, max(1, l.Ratio))
	}
	return nil
}

// due is how many draws belong to the steps that there are.
func (l Limit) due(p *Position, steps int64) float64 {
	return l.Ratio * float64(steps-max(l.Least, p.Began))
}

// draws says whether so many draws can be made.
func (l Limit) draws(p *Position, steps, count int64) bool {
	return steps >= l.Least && (l.Ratio == 0 || float64(p.Draws+count) <= l.due(p, steps)+l.Slack)
}

// takes says whether so many steps can come.
func (l Limit) takes(p *Position, steps, count int64) bool {
	return l.Ratio == 0 || l.due(p, steps+count) <= float64(p.Draws)+l.Slack
}
