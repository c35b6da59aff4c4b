package apple

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// source is the package's own code, with tests left out.
func source(t *testing.T) map[string]*ast.File {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]*ast.File{}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		if files[name], err = parser.ParseFile(token.NewFileSet(), name, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// declared maps the variables of table.go to what they declare.
func declared(t *testing.T, table *ast.File) (map[string]*method, map[string]bool) {
	byName, symbols := map[string]*method{}, map[string]bool{}
	ast.Inspect(table, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Values) != 1 {
			return true
		}
		call, ok := v.Values[0].(*ast.CallExpr)
		if !ok {
			return true
		}
		switch call.Fun.(*ast.Ident).Name {
		case "declare":
			byName[v.Names[0].Name] = methods[len(byName)]
		case "list":
			symbols[v.Names[0].Name] = true
		}
		return true
	})
	if len(byName) != len(methods) || len(symbols) != len(classes)+len(functions)+len(constants) {
		t.Fatalf("table.go has %d methods and %d symbols, the package has %d and %d", len(byName), len(symbols), len(methods), len(classes)+len(functions)+len(constants))
	}
	return byName, symbols
}

// TestUses holds every message in the source against the table: the second
// argument of send is a method of it, with as many arguments as its type says;
// selectors, classes and symbols are looked up from the table alone; and
// nothing stands in the table that the source does not use.
func TestUses(t *testing.T) {
	files := source(t)
	byName, symbols := declared(t, files["table.go"])
	used := map[string]bool{}
	for name, f := range files {
		if name == "table.go" {
			continue
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Ident:
				if byName[n.Name] != nil || symbols[n.Name] {
					used[n.Name] = true
				}
			case *ast.CallExpr:
				checkCall(t, name, n, byName)
			}
			return true
		})
	}
	for name := range byName {
		if !used[name] {
			t.Errorf("table.go: %s is not used", name)
		}
	}
	for name := range symbols {
		if !used[name] {
			t.Errorf("table.go: %s is not used", name)
		}
	}
}

// lookups are the calls that turn a name into something of the system's, and
// the only expression that each may take.
var lookups = map[string]string{"RegisterName": "m.selector", "GetClass": "c.name", "Dlsym": "f.name c.name"}

func checkCall(t *testing.T, file string, call *ast.CallExpr, byName map[string]*method) {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return
	}
	if want, ok := lookups[sel.Sel.Name]; ok {
		name, ok := call.Args[len(call.Args)-1].(*ast.SelectorExpr)
		if !ok || !slices.Contains(strings.Fields(want), name.X.(*ast.Ident).Name+"."+name.Sel.Name) {
			t.Errorf("%s: %s of a name that is not the table's", file, sel.Sel.Name)
		}
		return
	}
	if sel.Sel.Name != "send" {
		return
	}
	m, ok := call.Args[1].(*ast.Ident)
	if !ok {
		t.Errorf("%s: send of an expression", file)
		return
	}
	given := len(call.Args[2].(*ast.CompositeLit).Elts)
	if m.Name == "m" && given == 0 { // a getter, named by its caller
		return
	}
	if byName[m.Name] == nil {
		t.Errorf("%s: send of %s, which is not in the table", file, m.Name)
		return
	}
	if _, params := parse(byName[m.Name].types); len(params)-2 != given {
		t.Errorf("%s: %s with %d arguments, its type %s has %d", file, m.Name, given, byName[m.Name].types, len(params)-2)
	}
}

var types = regexp.MustCompile(`^(v|B|q|Q|@("\w+")?|r?\^v|r\*)[@#]:(v|B|q|Q|:|@("\w+"|\?)?|r?\^v|\^@|\{\w+=q{3}\}|\{\w+=Q{3}\})*$`)

// TestTable wants each entry whole: a type that the driver can pass in integer
// registers, as many arguments as the selector has colons, a header, a version.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for i, m := range methods {
		if m.index != i || m.receiver == "" || !strings.HasSuffix(m.header, ".h") || m.since < macOS10_0 {
			t.Errorf("%+v: not whole", m)
		}
		if seen[m.receiver+m.selector] {
			t.Errorf("%s %s: twice", m.receiver, m.selector)
		}
		seen[m.receiver+m.selector] = true
		if !types.MatchString(m.types) {
			t.Errorf("%s: type %s", m.selector, m.types)
			continue
		}
		if _, params := parse(m.types); len(params)-2 != strings.Count(m.selector, ":") || len(params)-2 > len(args{}) {
			t.Errorf("%s: type %s has %d arguments", m.selector, m.types, len(params)-2)
		}
		if answers[m] == nil {
			t.Errorf("%s: the stand-in has no answer", m.selector)
		}
	}
	for _, all := range [][]*symbol{classes, functions, constants} {
		for i, s := range all {
			if s.index != i || s.name == "" || !strings.Contains(s.header, ".h") || s.since < macOS10_0 {
				t.Errorf("%+v: not whole", s)
			}
		}
	}
}

// TestSent wants every message of the table sent in the other tests' course,
// so that the stand-in has judged each of them.
func TestSent(t *testing.T) {
	sent := map[*method]bool{}
	t.Run("all", func(t *testing.T) {
		with(t, Options{Signposts: true}, func(t *testing.T, f *fake, d *Device) {
			everything(t, f, d)
			for m := range f.sent {
				sent[m] = true
			}
		})
		with(t, Options{}, func(t *testing.T, f *fake, d *Device) {
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			for m := range f.sent {
				sent[m] = true
			}
		})
	})
	for _, m := range methods {
		if !sent[m] {
			t.Errorf("%s is never sent", m.selector)
		}
	}
}
