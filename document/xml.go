package document

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/stillpoint-vss/stillpoint/vss"
)

const (
	metadataSpace   = "x-schema:#VssWriterMetadataInfo"
	componentsSpace = "x-schema:#VssComponentMetadata"

	schemaMajor, schemaMinor = 1, 2 // of Microsoft's part
)

// Format is the version of our additions to Microsoft's schema. Documents of newer versions are errors.
const Format = 1

// ParseMetadata parses a Writer Metadata Document in UTF-8, or in UTF-16 with a byte order mark.
// Errors: VSS_E_INVALID_XML_DOCUMENT.
func ParseMetadata(data []byte) (*WriterMetadata, error) {
	m := &WriterMetadata{}
	err := load(data, "WRITER_METADATA", metadataSpace, m.xml, &m.Other)
	if err == nil {
		err = m.unique()
	}
	if err != nil {
		return nil, invalid("LoadFromXML", "writer metadata", err)
	}
	return m, nil
}

// XML returns the document as UTF-8. Errors: VSS_E_INVALID_XML_DOCUMENT for text that XML can't represent, and for a
// document beyond the limits of a reader.
func (m *WriterMetadata) XML() ([]byte, error) {
	data, err := save("WRITER_METADATA", metadataSpace, m.Other.alien, m.xml)
	if err != nil {
		return nil, invalid("SaveAsXML", "writer metadata", err)
	}
	return data, nil
}

// Parse parses a Backup Components Document in UTF-8, or in UTF-16 with a byte order mark. Errors:
// VSS_E_INVALID_XML_DOCUMENT.
func Parse(data []byte) (*Components, error) {
	c := &Components{}
	err := load(data, "BACKUP_COMPONENTS", componentsSpace, c.xml, &c.Other)
	if err == nil {
		err = c.unique()
	}
	if err == nil && c.SnapshotSet != nil {
		err = c.SnapshotSet.check()
	}
	if err != nil {
		return nil, invalid("LoadFromXML", "backup components", err)
	}
	return c, nil
}

// XML returns the document as UTF-8. Errors: VSS_E_INVALID_XML_DOCUMENT for text that XML can't represent, and for a
// document beyond the limits of a reader.
func (c *Components) XML() ([]byte, error) {
	data, err := save("BACKUP_COMPONENTS", componentsSpace, c.Other.alien, c.xml)
	if err != nil {
		return nil, invalid("SaveAsXML", "backup components", err)
	}
	return data, nil
}

// ParseWriterComponents parses one writer's part of a Backup Components Document, as it is sent to a writer in another
// process. Errors: VSS_E_INVALID_XML_DOCUMENT.
func ParseWriterComponents(data []byte) (*WriterComponents, error) {
	c, err := Parse(data)
	if err == nil && len(c.Writers) != 1 {
		err = invalid("LoadFromXML", "backup components", fmt.Errorf("%d writers; want one", len(c.Writers)))
	}
	if err != nil {
		return nil, err
	}
	return c.Writers[0], nil
}

// XML returns one writer's part as a document of its own. Errors: VSS_E_INVALID_XML_DOCUMENT.
func (w *WriterComponents) XML() ([]byte, error) {
	return (&Components{SelectComponents: true, Writers: []*WriterComponents{w}}).XML()
}

// invalid returns the error for a document that can't be read or written. It limits the length, since names and values
// come from the document.
func invalid(op, what string, err error) error {
	const enough = 300
	if text := err.Error(); len(text) > enough {
		err = fmt.Errorf("%.*s…", enough, text)
	}
	return vss.E(op, vss.ErrInvalidXMLDocument, err).On(what).Advise("use the document unchanged as it was saved")
}

func load(data []byte, root, space string, f func(*codec), other *Foreign) error {
	n, err := parse(data)
	if err != nil {
		return err
	}
	if n.name.Local != root || n.name.Space != space {
		return fmt.Errorf(
			"the root element is %s of namespace %q, not %s of %q",
			n.name.Local,
			n.name.Space,
			root,
			space,
		)
	}
	var failed error
	c := (&codec{space: space, err: &failed}).enter(n)
	c.versions()
	if failed == nil {
		f(c)
	}
	other.alien = c.alien
	return failed
}

func save(root, space string, alien bool, f func(*codec)) ([]byte, error) {
	n := &node{name: xml.Name{Space: space, Local: root}}
	var failed error
	c := (&codec{space: space, writing: true, alien: alien, err: &failed}).enter(n)
	c.versions()
	f(c)
	if failed != nil {
		return nil, failed
	}
	var b bytes.Buffer
	if err := n.write(&b, ""); err != nil {
		return nil, err
	}
	return b.Bytes(), bounded(b.Bytes())
}

// versions are Microsoft's and ours. Documents of other programs have no formatVersion.
func (c *codec) versions() {
	version, format := fmt.Sprintf("%d.%d", schemaMajor, schemaMinor), Format
	c.attr("version", &version, true)
	if !c.writing {
		c.alien = c.find("formatVersion") < 0
	}
	if !c.alien {
		number(c, "formatVersion", &format, true)
	}
	if c.writing || *c.err != nil {
		return
	}
	major, minor, _ := strings.Cut(version, ".")
	a, errA := strconv.ParseUint(major, 10, 16)
	b, errB := strconv.ParseUint(minor, 10, 16)
	switch {
	case errA != nil || errB != nil:
		c.fail("version", fmt.Errorf("invalid version %q", version))
	case a != schemaMajor || b > schemaMinor:
		c.fail(
			"version",
			fmt.Errorf(
				"version %s of the document is newer than %d.%d of this program",
				version,
				schemaMajor,
				schemaMinor,
			),
		)
	case format < 0 || format > Format:
		c.fail(
			"formatVersion",
			fmt.Errorf("format %d of the document is newer than %d of this program", format, Format),
		)
	}
}

func (m *WriterMetadata) unique() error {
	seen := map[[2]string]bool{}
	for i := range m.Components {
		if err := distinct(seen, m.Components[i].LogicalPath, m.Components[i].Name); err != nil {
			return err
		}
	}
	return nil
}

func (c *Components) unique() error {
	type instance struct {
		class vss.WriterID
		id    vss.WriterInstanceID
	}
	writers := map[instance]bool{}
	for _, w := range c.Writers {
		if writers[instance{w.WriterID, w.InstanceID}] {
			return fmt.Errorf("duplicate writer %s instance %s", w.WriterID, w.InstanceID)
		}
		writers[instance{w.WriterID, w.InstanceID}] = true
		seen := map[[2]string]bool{}
		for _, k := range w.Components {
			if err := distinct(seen, k.LogicalPath, k.Name); err != nil {
				return fmt.Errorf("writer %s: %w", w.WriterID, err)
			}
		}
	}
	return nil
}

// distinct records a component's name among those of its writer. A repeated one is an error.
func distinct(seen map[[2]string]bool, logicalPath, name string) error {
	key := [2]string{logicalPath, name}
	switch {
	case name == "":
		return errors.New("a component without a name")
	case len(logicalPath)+len(name) > maxName:
		return fmt.Errorf("the name of a component has %d bytes; the limit is %d", len(logicalPath)+len(name), maxName)
	case seen[key]:
		return fmt.Errorf("duplicate component %s", fullName(logicalPath, name))
	}
	seen[key] = true
	return nil
}
