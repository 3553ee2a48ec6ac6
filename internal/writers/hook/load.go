package hook

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

const (
	manifest   = "writer.toml"
	maxWriters = 256 // in a folder with writers' folders
)

// Load makes the hook writers that the configuration names: each path is a writer's folder, or a folder of such
// folders. What can't be loaded is omitted and yields an error, and so does a path that doesn't exist. The folder run,
// which doesn't survive a restart of the host, holds marks of frozen writers: a writer that a former process left
// frozen is thawed now.
func Load(paths []string, run string, logger *slog.Logger) (all []writer.Writer, errs []error) {
	type class struct {
		id       vss.GUID
		instance string
	}
	seen := map[class]string{}
	for _, p := range paths {
		folders, err := foldersOf(p)
		if err != nil {
			errs = append(errs, err)
		}
		for _, f := range folders {
			h, err := load(f, run, logger)
			if err == nil {
				key := class{h.ID, h.InstanceName}
				if other, twice := seen[key]; twice {
					err = vss.E("LoadHook", vss.ErrObjectAlreadyExists,
						fmt.Errorf("%s has the same id and instance name", other)).
						On(f).
						Advise("give each writer its own id, or instances of one class different instance names")
				}
				seen[key] = f
			}
			if err != nil {
				errs = append(errs, err)
				continue
			}
			h.recover()
			all = append(all, h)
		}
	}
	return all, errs
}

// foldersOf returns the writers' folders at a path.
func foldersOf(path string) ([]string, error) {
	if _, err := os.Stat(filepath.Join(path, manifest)); err == nil {
		return []string{path}, nil
	}
	d, err := os.Open(path)
	if err != nil {
		return nil, vss.E("LoadHook", vss.ErrObjectNotFound, err).
			On(path).
			Advise("correct hooks in [writers] of the configuration")
	}
	defer d.Close()
	names, err := d.Readdirnames(maxWriters + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, vss.E("LoadHook", vss.ErrInvalidArg, err).
			On(path).
			Advise("name a writer's folder, or a folder of such folders")
	}
	if len(names) > maxWriters {
		return nil, vss.E("LoadHook", vss.ErrInvalidArg, fmt.Errorf("more than %d entries", maxWriters)).
			On(path).
			Advise("split the folder")
	}
	slices.Sort(names)
	var folders []string
	for _, n := range names {
		if _, err := os.Stat(filepath.Join(path, n, manifest)); err == nil {
			folders = append(folders, filepath.Join(path, n))
		}
	}
	return folders, nil
}

// load loads one writer's folder. Errors: E_INVALIDARG, E_ACCESSDENIED, VSS_E_OBJECT_NOT_FOUND.
func load(folder, run string, logger *slog.Logger) (*hook, error) {
	folder, err := safe(folder)
	if err != nil {
		return nil, err
	}
	file, err := safe(filepath.Join(folder, manifest))
	if err != nil {
		return nil, err
	}
	bad := func(err error) error {
		return vss.E("LoadHook", vss.ErrInvalidArg, err).
			On(file).
			Advise("see docs/writers.md for the keys of writer.toml")
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, vss.E("LoadHook", vss.ErrAccessDenied, err).On(file)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil || len(text) > maxFile {
		return nil, bad(cmp.Or(err, fmt.Errorf("more than %d bytes", maxFile)))
	}
	s, err := parse(text)
	if err != nil {
		return nil, bad(err)
	}
	h := &hook{
		settings: *s,
		folder:   folder,
		marks:    run,
		log:      logger.With("writer", s.Name),
		commands: map[writer.Handler]command{},
	}
	h.HandlerFunc = h.handle
	return h, h.find()
}

// find finds the executables for the writer's style.
func (h *hook) find() error {
	inFolder := func(name string) string { return filepath.Join(h.folder, name) }
	switch h.Style {
	case styleEvents:
		path, err := executable(inFolder("identify"))
		if err != nil {
			return err
		}
		h.identify = path
		for e, name := range events {
			path, err := executable(inFolder(name))
			if err != nil {
				return err
			}
			if path != "" {
				h.commands[e] = command{path, nil}
			}
		}
		if _, there := h.commands[writer.OnAbort]; !there && h.commands[writer.OnThaw].path != "" {
			h.commands[writer.OnAbort] = h.commands[writer.OnThaw]
		}
	case styleFsfreeze:
		path, err := h.needed(cmp.Or(h.Script, inFolder("fsfreeze-hook")))
		if err != nil {
			return err
		}
		thaw := command{path, []string{"thaw"}}
		h.commands = map[writer.Handler]command{
			writer.OnFreeze: {path, []string{"freeze"}},
			writer.OnThaw:   thaw,
			writer.OnAbort:  thaw,
		}
	case stylePrePost:
		pre, err := h.needed(cmp.Or(h.Pre, inFolder("pre")))
		if err != nil {
			return err
		}
		post, err := h.needed(cmp.Or(h.Post, inFolder("post")))
		if err != nil {
			return err
		}
		h.commands = map[writer.Handler]command{
			writer.OnFreeze: {pre, nil},
			writer.OnThaw:   {post, nil},
			writer.OnAbort:  {post, nil},
		}
	}
	return nil
}

func (h *hook) needed(path string) (string, error) {
	real, err := executable(path)
	if err == nil && real == "" {
		err = vss.E("LoadHook", vss.ErrObjectNotFound, nil).On(path).Advise("style " + h.Style + " needs this script")
	}
	return real, err
}
