package rest

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	aperio "github.com/writer/aperio-plugin-go"
)

const maxPort = 65_535

var (
	// publicAddress: printable, no user, no backslash; (?i) would take letters beyond ASCII.
	publicAddress = regexp.MustCompile(
		`^[Hh][Tt]{2}[Pp][Ss]://(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::([0-9]{1,5}))?` +
			`(?:[/?#][!-\[\]-~]*)?$`)
	// number is what some readers take for an address.
	number = regexp.MustCompile(`^(?:[0-9]+|0x[0-9a-f]*)$`)

	privateNames = []string{".internal", ".local", ".localhost", ".localdomain", ".home.arpa"}

	notPublicIPv4 = prefixes(
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
		"192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
		"203.0.113.0/24", "224.0.0.0/3")
	unicastIPv6   = prefixes("2000::/3")
	notPublicIPv6 = prefixes("2001::/32", "2001:db8::/32", "2002::/16") // Teredo, examples, 6to4
)

// RequirePublic refuses an address that is not of a public host over https, by Aperio's rule for
// addresses. No resolver is asked: what a public name resolves to is the host's to look at, which
// leads connections out. Refused are names without a dot and names of private networks (.internal,
// .local, .localhost, .localdomain, .home.arpa), addresses that are private, reserved, for examples
// or this machine's, IPv4 inside of IPv6, and whatever readers do not read alike. The error has the
// cause InvalidConfig and names the setting.
func RequirePublic(address, field string) error {
	why := whyNotPublic(address)
	if why == "" {
		return nil
	}
	return &aperio.Error{
		Cause: aperio.InvalidConfig, Summary: field + " " + why,
		Attribute: aperio.Path{aperio.Key(field)},
	}
}

func whyNotPublic(address string) string {
	found := publicAddress.FindStringSubmatch(address)
	if found == nil {
		return "must begin with https:// and name a host in plain letters, without a user"
	}
	name := strings.ToLower(found[1])
	if port, err := strconv.Atoi(found[2]); found[2] != "" && (err != nil || port < 1 || port > maxPort) {
		return "has a port that is none"
	}
	if strings.HasPrefix(name, "[") {
		return notPublicUnless(isPublicIPv6(name[1 : len(name)-1]))
	}
	name = strings.TrimSuffix(name, ".")
	labels := strings.Split(name, ".")
	if number.MatchString(labels[len(labels)-1]) {
		return notPublicUnless(isPublicIPv4(name))
	}
	isPrivate := len(labels) == 1
	for _, label := range labels {
		isPrivate = isPrivate || label == ""
	}
	for _, ending := range privateNames {
		isPrivate = isPrivate || strings.HasSuffix(name, ending)
	}
	if isPrivate {
		return "names a host of a private network"
	}
	return ""
}

func notPublicUnless(isPublic bool) string {
	if isPublic {
		return ""
	}
	return "leads to an address that is not public"
}

func isPublicIPv4(text string) bool {
	address, err := netip.ParseAddr(text)
	return err == nil && address.Is4() && !isWithin(address, notPublicIPv4)
}

func isPublicIPv6(text string) bool {
	address, err := netip.ParseAddr(text)
	return err == nil && address.Is6() &&
		isWithin(address, unicastIPv6) && !isWithin(address, notPublicIPv6)
}

func isWithin(address netip.Addr, blocks []netip.Prefix) bool {
	for _, block := range blocks {
		if block.Contains(address) {
			return true
		}
	}
	return false
}

func prefixes(texts ...string) []netip.Prefix {
	made := make([]netip.Prefix, len(texts))
	for index, text := range texts {
		made[index] = netip.MustParsePrefix(text)
	}
	return made
}
