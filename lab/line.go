package lab

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// Frames on the line to a guest, its tty1 in raw mode: a kind (1 byte), the number of a command (4 bytes, big-endian),
// a length (4 bytes) and that many bytes.
const (
	frameUp     = 'u' // from the guest: ready for commands
	frameFailed = 'f' // from the guest: its set-up failed, with the reason
	frameRun    = 'r' // to the guest: a command, as JSON
	frameKill   = 'k' // send a signal to that command and its children
	frameHalt   = 'h' // sync and power off
	frameOut    = 'o' // from the guest: output
	frameErr    = 'e' // standard error
	frameExit   = 'x' // exit status, a decimal number
)

// maxFrame is the maximum length of a frame in bytes: a longer one means that the line is out of step.
const maxFrame = 1 << 20

type frame struct {
	kind byte
	id   uint32
	data []byte
}

func readFrame(r io.Reader) (frame, error) {
	var head [9]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	f := frame{kind: head[0], id: binary.BigEndian.Uint32(head[1:])}
	n := binary.BigEndian.Uint32(head[5:])
	if n > maxFrame {
		return frame{}, fmt.Errorf("frame of %d bytes", n)
	}
	f.data = make([]byte, n)
	_, err := io.ReadFull(r, f.data)
	return f, err
}

// sender writes frames, one at a time.
type sender struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *sender) send(kind byte, id uint32, data []byte) error {
	b := binary.BigEndian.AppendUint32([]byte{kind}, id)
	b = append(binary.BigEndian.AppendUint32(b, uint32(len(data))), data...)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.w.Write(b)
	return err
}

// command is the content of frameRun.
type command struct {
	Args []string `json:"args"`
	Env  []string `json:"env"`
	Dir  string   `json:"dir"` // if it doesn't exist in the guest: /
}
