package kernels

import "fmt"

// RouteArgs is route's argument struct.
type RouteArgs struct {
	Tokens, Experts, Picks uint32
	Factor                 float32
}

// MaxExperts is the most experts of a layer that route keeps in registers.
const MaxExperts = 1024

// Threads of route, and the tokens that they take.
const (
	RouteThreads = 128
	RouteTokens  = 4
)

// Route returns the kernel that picks among experts, by score or by table.
func Route(experts int, table bool) Instance {
	return Instance{"route", []string{fmt.Sprint((experts + 31) / 32), flag(table)}}
}
