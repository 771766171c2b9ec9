// Command bench measures Berth beside distribution v3, nginx and the floor of what the machine can do, in one run on the same
// storage, and prints ratios: absolute numbers differ between machines, ratios much less.
//
//	go run ./bench -berth bin/berth [-rows P1,P2] [-rounds 5] [-large] > results.md
//
// Every comparison alternates its contestants (A B A B …) and quotes medians over the rounds.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// bench is one run.
type bench struct {
	ctx      context.Context
	dir      string
	berth    string
	tools    string
	rounds   int
	duration time.Duration
	// large makes the rows that need gigabytes or a million rows use them.
	large bool
}

type row struct {
	id   string
	what string
	run  func(*bench) ([]finding, error)
}

// finding is one line of the result table.
type finding struct {
	what    string
	target  string
	reached string
	met     bool
}

func main() {
	log.SetFlags(log.Ltime)
	if len(os.Args) == 4 && os.Args[1] == "floor" {
		log.Fatal(serveFloor(os.Args[2], os.Args[3]))
	}
	var b bench
	var only string
	home, _ := os.UserHomeDir()
	flag.StringVar(&b.berth, "berth", "bin/berth", "the berth binary")
	flag.StringVar(&b.tools, "tools", filepath.Join(home, ".cache", "berth-tools", "bin"), "directory of the peers' programs, as e2e/install.sh path prints it")
	flag.StringVar(&only, "rows", "", "comma-separated rows to run, for example P1,P6; empty runs all")
	flag.IntVar(&b.rounds, "rounds", 5, "rounds of each comparison")
	flag.DurationVar(&b.duration, "duration", 3*time.Second, "length of one round of a rate measurement")
	flag.BoolVar(&b.large, "large", false, "1 GiB blobs, 1,000,000 tags and 100,000 repositories instead of a hundredth")
	flag.Parse()

	if err := run(&b, only); err != nil {
		log.Fatal(err)
	}
}

func run(b *bench, only string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	b.ctx = ctx
	dir, err := os.MkdirTemp("", "berth-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b.dir = dir
	if b.berth, err = filepath.Abs(b.berth); err != nil {
		return err
	}

	rows := []row{
		{"P1", "manifest GET", manifestReads},
		{"P2", "large blob GET, plain HTTP", largeReadsPlain},
		{"P3", "large blob GET, TLS", largeReadsTLS},
		{"P4", "small blob GET", smallReads},
		{"P5", "large blob PUT", largeWrites},
		{"P6", "small writes", smallWrites},
		{"P7", "lists and tag writes at scale", scale},
		{"L", "lists of the API at scale", lists},
		{"GC", "garbage collection", collections},
		{"P8", "S3, streamed and redirected", s3Transfers},
		{"P11", "memory", memory},
		{"P12", "start", start},
		{"P13", "tokens", tokens},
		{"B", "push over a long way", latency},
		{"P14", "push by skopeo over TLS", clientPush},
		{"R", "copies between registries", copies},
	}
	fmt.Println("| # | work | target | reached | |\n|---|---|---|---|---|")
	for _, r := range rows {
		if only != "" && !slices.Contains(strings.Split(only, ","), r.id) {
			continue
		}
		log.Printf("%s %s", r.id, r.what)
		findings, err := r.run(b)
		if err != nil {
			return fmt.Errorf("%s %s: %w", r.id, r.what, err)
		}
		for _, f := range findings {
			mark := "met"
			if !f.met {
				mark = "**missed**"
			}
			fmt.Printf("| %s | %s | %s | %s | %s |\n", r.id, f.what, f.target, f.reached, mark)
		}
	}
	return nil
}

// median returns the middle of values, which it sorts.
func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
