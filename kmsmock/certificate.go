package kmsmock

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// certificate returns the server's certificate for a key type and its
// fingerprint; all endpoints of a key type share it. Both key types get an
// elliptic curve key: nothing on the control connection shows the difference,
// and an RSA key would cost a tenth of a second of every test.
func (s *Server) certificate(keyType string) (tls.Certificate, string, error) {
	cert := s.certificates[keyType]
	if cert == nil {
		made, err := newCertificate()
		if err != nil {
			return tls.Certificate{}, "", fmt.Errorf("make certificate: %w", err)
		}
		cert = &made
		s.certificates[keyType] = cert
	}
	return *cert, fingerprint(cert.Certificate[0]), nil
}

func newCertificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "Kurento"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// fingerprint is the SHA-256 fingerprint of RFC 8122 in upper case.
func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(parts, ":")
}
