package render

import (
	"io"
	"strings"

	"github.com/mitchellh/go-wordwrap"
	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/renderer"
	"github.com/olekukonko/tablewriter/tw"
)

// table writes rows the way kubectl does: no lines, left-aligned, two spaces
// between the columns.
func table(out io.Writer, header []string, rows [][]string) error {
	t := tablewriter.NewTable(out,
		tablewriter.WithRenderer(renderer.NewBlueprint(tw.Rendition{
			Borders: tw.BorderNone,
			Settings: tw.Settings{
				Separators: tw.Separators{BetweenColumns: tw.Off, BetweenRows: tw.Off, ShowHeader: tw.Off, ShowFooter: tw.Off},
				Lines:      tw.Lines{ShowTop: tw.Off, ShowBottom: tw.Off, ShowHeaderLine: tw.Off, ShowFooterLine: tw.Off},
			},
		})),
		tablewriter.WithHeaderAlignment(tw.AlignLeft),
		tablewriter.WithRowAlignment(tw.AlignLeft),
		tablewriter.WithHeaderAutoFormat(tw.Off),
		tablewriter.WithRowAutoWrap(tw.WrapNone),
		tablewriter.WithHeaderAutoWrap(tw.WrapNone),
		tablewriter.WithPadding(tw.Padding{Right: "  ", Overwrite: true}),
	)
	if header != nil {
		t.Header(header)
	}
	if err := t.Bulk(rows); err != nil {
		return err
	}
	return t.Render()
}

// trimmed takes the padding off the end of each line.
type trimmed struct{ out io.Writer }

func (t trimmed) Write(data []byte) (int, error) {
	lines := strings.Split(string(data), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	if _, err := io.WriteString(t.out, strings.Join(lines, "\n")); err != nil {
		return 0, err
	}
	return len(data), nil
}

// dash stands for an empty cell.
func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// noBreak is a space that no line is broken at; wrapped writes it as a space.
const noBreak = "\u00a0"

// kept keeps words together on one line.
func kept(words string) string { return strings.ReplaceAll(words, " ", noBreak) }

// wrapped breaks text into lines that fit after an indentation.
func wrapped(text string, indent int) string {
	broken := strings.ReplaceAll(wordwrap.WrapString(text, uint(Width-indent)), noBreak, " ")
	return strings.ReplaceAll(broken, "\n", "\n"+strings.Repeat(" ", indent))
}
