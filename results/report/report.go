// Package report renders a run as one offline HTML page: a verdict in sentences,
// a table, charts, the method and all that made the figures. It computes no
// figure of its own beyond what results and eval give, and nothing in it is
// written by hand about a run. The same input gives the same bytes.
package report

import (
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"strings"

	"assay/results"
)

// Input is what a page is made from.
type Input struct {
	Contents *results.Contents // of the ledger
	Rows     []results.Row     // results.Table of Contents
	Verdict  results.Verdict   // results.Judge of Rows
	// FitRule says in a clause what was asked of a variant that fits a memory
	// size, such as "weights and a cache of 8,192 tokens within 75 % of memory".
	FitRule string
}

// `make build` fetches echarts.min.js, by exact version and digest, and puts it
// there; it isn't in the repository.
//
//go:embed assets/echarts.min.js
var echarts string

var (
	//go:embed page/page.html
	pageHTML string
	//go:embed page/page.css
	pageCSS string
	//go:embed page/page.js
	pageJS string
)

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{"labelled": label}).Parse(pageHTML))

// labelled is a table of numbers with the name that it is announced by.
type labelled struct {
	Label string
	Table any
}

func label(text string, table any) labelled { return labelled{text, table} }

// page is what the template shows.
type page struct {
	Title    string
	Run      results.Run
	Lead     string // protocol in a line
	Verdict  []section
	Table    table
	Charts   []figure
	Symbols  []legendEntry
	Method   []definition
	Warnings []sentence
	Manifest []manifestTable

	CSS     template.CSS
	ECharts template.JS
	JS      template.JS
}

// Write writes the page. It errs where rows and contents are not of one run, and
// where a script that goes into the page would end its own element.
func Write(w io.Writer, in Input) error {
	if in.Contents == nil || len(in.Rows) == 0 || len(in.Rows) != len(in.Contents.Run.Variants) {
		return errors.New("report: want the contents of a ledger and a row for each of its variants")
	}
	for i, v := range in.Contents.Run.Variants {
		if in.Rows[i].Variant != v {
			return fmt.Errorf("report: row %d is that of %q, want that of the run's %q", i, in.Rows[i].Variant.Name, v.Name)
		}
	}
	for _, script := range []string{echarts, pageJS} {
		if s := strings.ToLower(script); strings.Contains(s, "</script") || strings.Contains(s, "<!--") {
			return errors.New("report: a script of the page's own holds </script or <!--")
		}
	}
	charts, err := figures(in)
	if err != nil {
		return err
	}
	verdict, err := verdictSections(in)
	if err != nil {
		return err
	}
	p := page{
		Title: "assay: " + in.Contents.Run.Model.Name,
		Run:   in.Contents.Run, Lead: protocolLine(in), Verdict: verdict,
		Table: mainTable(in), Charts: charts, Symbols: legend(in.Rows),
		Method: method(in), Warnings: warnings(in), Manifest: manifest(in.Contents),
		CSS: template.CSS(pageCSS), ECharts: template.JS(echarts), JS: template.JS(pageJS),
	}
	if err := pageTemplate.Execute(w, p); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}
