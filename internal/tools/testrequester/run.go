package testrequester

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// runner runs a script, with one requester object at a time.
type runner struct {
	client  *requester.Client
	b       *requester.BackupComponents
	running *requester.Async // the last one that was started with &
	names   map[string]string
	copies  int
	json    bool
	out     io.Writer
	wrong   int // number of results that were not as the script expects
}

// open replaces the requester object with a new one.
func (r *runner) open(ctx context.Context) error {
	if r.b != nil {
		r.b.Close()
	}
	b, err := r.client.Open(ctx, Name)
	if err != nil {
		return err
	}
	r.b, r.running, r.names, r.copies = b, nil, map[string]string{}, 0
	return nil
}

// run makes the calls one after another, regardless of their results, until the end of the script or until ctx is done.
func (r *runner) run(ctx context.Context, script []statement) error {
	if err := r.open(ctx); err != nil {
		return err
	}
	defer func() { r.b.Close() }()
	for i := range script {
		if err := ctx.Err(); err != nil {
			return vss.E("RunScript", vss.SuccessAsyncCancelled, err)
		}
		if err := r.make(ctx, &script[i]); err != nil {
			return err
		}
	}
	return nil
}

// make makes one call and prints its result. It returns errors of printing only.
func (r *runner) make(ctx context.Context, s *statement) error {
	args := make([]string, len(s.args))
	for i, a := range s.args {
		if v, named := r.names[a]; named {
			a = v
		}
		args[i] = a
	}
	start := time.Now()
	value, err := r.call(ctx, s, args)
	o := outcome{Line: s.line, Call: s.call.name, Args: args, Millis: float64(time.Since(start).Microseconds()) / 1000}
	code := vss.CodeOf(err)
	if c, ok := value.(success); ok {
		value = nil
		if err == nil {
			code = vss.Code(c)
		}
	}
	if err == nil {
		o.Value = value
	} else {
		o.Message, o.Hint = err.Error(), vss.Hint(err)
	}
	o.Result, o.HRESULT = code.Name(), cli.HRESULT(code)
	if s.wants != nil && *s.wants != code {
		o.Wanted = s.wants.Name()
		r.wrong++
	}
	return r.print(&o)
}

func (r *runner) call(ctx context.Context, s *statement, args []string) (any, error) {
	if s.call.run != nil {
		return s.call.run(ctx, r, args)
	}
	a, err := s.call.begin(ctx, r, args)
	if err != nil {
		return nil, err
	}
	if s.start {
		r.running = a
		return success(vss.SuccessAsyncPending), nil
	}
	return finish(a.Wait(ctx, nil))
}

func (r *runner) print(o *outcome) error {
	if r.json {
		e := json.NewEncoder(r.out)
		e.SetEscapeHTML(false)
		return e.Encode(o)
	}
	text := fmt.Sprintf("%3d  %-24s %s (%s)", o.Line, o.Call, o.Result, o.HRESULT)
	switch v := o.Value.(type) {
	case nil:
	case fmt.Stringer, string, bool:
		text += fmt.Sprintf("  %v", v)
	default:
		b, err := json.MarshalIndent(v, "     ", "  ")
		if err != nil {
			return err
		}
		text += "\n     " + string(b)
	}
	for _, more := range []struct{ name, text string }{{"cause", o.Message}, {"hint", o.Hint}, {"EXPECTED", o.Wanted}} {
		if more.text != "" {
			text += fmt.Sprintf("\n     %s: %s", more.name, more.text)
		}
	}
	_, err := fmt.Fprintln(r.out, text)
	return err
}

// component parses WRITER TYPE PATH NAME. A writer is named by its name, class or instance in the metadata of the
// session or, whether or not it exists, by CLASS/INSTANCE.
func (r *runner) component(ctx context.Context, a []string) (requester.Component, error) {
	c := requester.Component{Type: a[1], LogicalPath: a[2], Name: a[3]}
	class, instance, both := strings.Cut(a[0], "/")
	if both {
		var e1, e2 error
		c.Writer.GUID, e1 = vss.ParseGUID(class)
		c.Instance.GUID, e2 = vss.ParseGUID(instance)
		return c, errors.Join(e1, e2)
	}
	all, err := r.b.GetWriterMetadata(ctx)
	i := slices.IndexFunc(all, func(w requester.WriterMetadata) bool {
		return strings.EqualFold(w.Name, a[0]) || same(w.ID.GUID, a[0]) || same(w.Instance.GUID, a[0])
	})
	switch {
	case i >= 0:
		c.Writer, c.Instance = all[i].ID, all[i].Instance
	case err != nil:
		return c, err
	default:
		return c, vss.E("Script", vss.ErrObjectNotFound, errors.New("unknown writer")).
			On(a[0]).Advise("GetWriterMetadata lists the writers")
	}
	return c, nil
}

func same(g vss.GUID, s string) bool {
	other, err := vss.ParseGUID(s)
	return err == nil && other == g
}
