package s3

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/berth-registry/berth/storage"
)

// part is a part that the server has.
type part struct {
	ETag string `json:"e"`
	// CRC is the CRC-32C of its bytes, which the server has checked.
	CRC  uint32 `json:"c"`
	Size int64  `json:"s"`
	// Fingerprint tells its bytes from any others; only who has the upload's secret can make it.
	Fingerprint []byte `json:"f"`
}

// state is what Suspend returns: its JSON after four bytes of length, then the tail as it is. A part costs about 90 bytes and
// the tail is less than 5 MiB, which together is less than 6 MiB.
type state struct {
	Key      string `json:"key"`
	UploadID string `json:"upload,omitempty"`
	// Secret is the key of the fingerprints.
	Secret []byte `json:"secret"`
	// Parts are numbered from 1.
	Parts []part `json:"parts,omitempty"`
	tail  []byte
}

// offset is the number of bytes that the state stands for.
func (s state) offset() int64 {
	offset := int64(len(s.tail))
	for _, p := range s.Parts {
		offset += p.Size
	}
	return offset
}

func (s state) encode() ([]byte, error) {
	header, err := json.Marshal(s) //nolint:gosec // the secret is kept on purpose; no client sees the state
	if err != nil {
		return nil, fmt.Errorf("write an upload's state: %w", err)
	}
	encoded := make([]byte, 0, 4+len(header)+len(s.tail))
	encoded = binary.BigEndian.AppendUint32(encoded, uint32(len(header))) //nolint:gosec // less than 1 MiB
	encoded = append(encoded, header...)
	return append(encoded, s.tail...), nil
}

func decodeState(encoded []byte) (state, error) {
	var s state
	if len(encoded) < 4 || int64(len(encoded)-4) < int64(binary.BigEndian.Uint32(encoded)) {
		return s, errors.New("read an upload's state: it is cut short")
	}
	end := 4 + int(binary.BigEndian.Uint32(encoded))
	if err := json.Unmarshal(encoded[4:end], &s); err != nil {
		return s, fmt.Errorf("read an upload's state: %w", err)
	}
	s.tail = encoded[end:]
	if !storage.ValidKey(s.Key) || len(s.Parts) > MaxParts || (s.UploadID == "") != (len(s.Parts) == 0) ||
		len(s.tail) >= MinPartSize || len(s.Secret) != secretSize {
		return s, errors.New("read an upload's state: it is not one of an upload to S3")
	}
	for _, p := range s.Parts {
		if p.Size <= 0 || p.Size > MaxPartSize || p.ETag == "" {
			return s, errors.New("read an upload's state: it has an impossible part")
		}
	}
	return s, nil
}
