// Decides by a policy with OPA's own engine, over and over, for bench/policy.
//
//	opa-decide POLICY INPUT THREADS SECONDS
//
// prints one JSON object: how many decisions were made, how long each took, and the decision. The policy
// is prepared once, as a service does it; a decision is the text of an input read, evaluated, and the
// answer as a value. Builtins that fail are errors, as they are for us.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) != 4 {
		return fmt.Errorf("POLICY INPUT THREADS SECONDS")
	}
	threads, err := strconv.Atoi(arguments[2])
	if err != nil {
		return err
	}
	seconds, err := strconv.ParseFloat(arguments[3], 64)
	if err != nil {
		return err
	}
	input, err := os.ReadFile(arguments[1])
	if err != nil {
		return err
	}
	query, err := prepare(arguments[0])
	if err != nil {
		return err
	}
	// What is made at the first decision only is not measured.
	answer, err := decide(query, input)
	if err != nil {
		return err
	}
	start := time.Now()
	end := start.Add(time.Duration(seconds * float64(time.Second)))
	took := make([][]time.Duration, threads)
	failed := make([]error, threads)
	var all sync.WaitGroup
	for thread := range threads {
		all.Go(func() {
			for begin := time.Now(); begin.Before(end); begin = time.Now() {
				if _, err := decide(query, input); err != nil {
					failed[thread] = err
					return
				}
				took[thread] = append(took[thread], time.Since(begin))
			}
		})
	}
	all.Wait()
	elapsed := time.Since(start).Seconds()
	for _, err := range failed {
		if err != nil {
			return err
		}
	}
	times := slices.Concat(took...)
	slices.Sort(times)
	percentile := func(percent int) float64 {
		return float64(times[(len(times)-1)*percent/100].Nanoseconds()) / 1e6
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"decisions": len(times),
		"seconds":   elapsed,
		"p50_ms":    percentile(50),
		"p99_ms":    percentile(99),
		"answer":    answer,
	})
}

func prepare(policy string) (rego.PreparedEvalQuery, error) {
	isTest := func(_ string, info os.FileInfo, _ int) bool {
		name := filepath.Base(info.Name())
		return !info.IsDir() && (strings.HasSuffix(name, "_test.rego") || strings.HasSuffix(name, ".md"))
	}
	return rego.New(
		rego.Query("data.sealwright.main.decision"),
		rego.Load([]string{policy}, isTest),
		rego.StrictBuiltinErrors(true),
	).PrepareForEval(context.Background())
}

func decide(query rego.PreparedEvalQuery, text []byte) (any, error) {
	input, err := ast.ValueFromReader(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	results, err := query.Eval(context.Background(), rego.EvalParsedInput(input))
	if err != nil {
		return nil, err
	}
	if len(results) != 1 {
		return nil, fmt.Errorf("the decision is undefined")
	}
	return results[0].Expressions[0].Value, nil
}
