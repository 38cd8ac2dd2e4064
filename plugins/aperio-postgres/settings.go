package main

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	aperio "github.com/writer/aperio-plugin-go"
)

const (
	defaultPort     = 5432
	defaultDatabase = "aperio"
	defaultSchema   = "public"
	defaultTimeout  = 30
	mostTimeout     = 120

	// mostConnections is how many calls of one organization write at once; the others wait.
	mostConnections = 4
	// idleFor is how long a connection that nobody uses is kept.
	idleFor = 60 * time.Second

	tlsAuto = "auto"
)

// schemaName is what needs no thought in a search path or a log.
var schemaName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_$]{0,62}$`)

// fields are the settings; settings below has their values.
var fields = []aperio.Field{
	{
		Key: "url", Label: "URL", Type: aperio.Password, Secret: true,
		Placeholder: "postgres://aperio_bridge:PASSWORD@db.example.com:5432/aperio",
		Helper: "The whole connection; instead of host, port, user, password and database. " +
			"`schema=` in it is taken, too.",
	},
	{
		Key: "host", Label: "Host", Placeholder: "db.example.com",
		Helper: "Or the folder of a Unix socket, which begins with a slash.",
	},
	{Key: "port", Label: "Port", Type: aperio.Number, Default: defaultPort},
	{Key: "user", Label: "User"},
	{Key: "password", Label: "Password", Type: aperio.Password, Secret: true},
	{Key: "database", Label: "Database", Default: defaultDatabase},
	{
		Key: "sslmode", Label: "TLS", Type: aperio.Select, Default: tlsAuto,
		Options: []string{tlsAuto, "disable", "prefer", "require", "verify-ca", "verify-full"},
		Helper: "As PostgreSQL has it. `auto`: what the URL says, else verify-full, and prefer for a " +
			"server on this machine.",
	},
	{
		Key: "ca", Label: "Certificate authorities",
		Helper: "A PEM file in base64 (`base64 -w0 ca.pem`): who signs the server's certificate; " +
			"without it those of the system.",
	},
	{
		Key: "schema", Label: "Schema", Helper: "Where the server's tables are; public without it.",
	},
	{
		Key: "event_mappings", Label: "Event mappings",
		Helper: "What the server calls the connector's event types: the JSON of " +
			"`aperio plugin run CONNECTOR schema --json`, or the list event_mappings in it. " +
			"Events without a mapping are counted and left out.",
	},
	{
		Key: "keep_cursor", Label: "Keep the connector's cursor", Type: aperio.Boolean, Default: false,
		Helper: "In the table " + cursorsTable + ", in one transaction with the rows; syncs go on from there.",
	},
	{
		Key: "timeout_s", Label: "Seconds that one transaction may take",
		Type: aperio.Number, Default: defaultTimeout,
		Helper: "From 1 to 120; to connect as well.",
	},
}

// settings are the operator's, checked. They hold secrets.
type settings struct {
	pool     *pgxpool.Config
	schema   string
	mappings mappings // nil: not set
	timeout  time.Duration
	key      [sha256.Size]byte // other for other settings, or another organization

	keepsCursor bool
}

// readSettings checks the settings of one organization.
func readSettings(config aperio.Config, organization string) (*settings, error) {
	texts, err := readTexts(config)
	if err != nil {
		return nil, err
	}
	port, err := readWhole(config, "port", defaultPort, 65535)
	if err != nil {
		return nil, err
	}
	seconds, err := readWhole(config, "timeout_s", defaultTimeout, mostTimeout)
	if err != nil {
		return nil, err
	}
	address, err := readAddress(texts, port)
	if err != nil {
		return nil, err
	}
	found := &settings{timeout: time.Duration(seconds) * time.Second}
	if found.keepsCursor, err = config.FlagOr("keep_cursor", false); err != nil {
		return nil, err
	}
	if found.schema, err = readSchema(texts["schema"], address); err != nil {
		return nil, err
	}
	if found.mappings, err = parseMappings(texts["event_mappings"]); err != nil {
		return nil, refuse("event_mappings", err.Error())
	}
	if found.pool, err = readPool(address, texts, found.timeout); err != nil {
		return nil, err
	}
	// What is mapped does not matter to a connection.
	delete(texts, "event_mappings")
	found.key, err = keyOf(organization, texts, port, seconds)
	return found, err
}

// keyOf gives what is different for every organization and every settings of it.
func keyOf(parts ...any) ([sha256.Size]byte, error) {
	data, err := json.Marshal(parts)
	return sha256.Sum256(data), err
}

func readTexts(config aperio.Config) (map[string]string, error) {
	otherwise := map[string]string{"database": defaultDatabase, "sslmode": tlsAuto}
	texts := map[string]string{}
	for _, key := range []string{
		"url", "host", "user", "password", "database", "sslmode", "ca", "schema", "event_mappings",
	} {
		text, err := config.TextOr(key, otherwise[key])
		if err != nil {
			return nil, err
		}
		texts[key] = text
	}
	return texts, nil
}

func readWhole(config aperio.Config, key string, otherwise, most int) (int, error) {
	number, err := config.NumberOr(key, float64(otherwise))
	if err != nil {
		return 0, err
	}
	if number < 1 || number > float64(most) || number != float64(int(number)) {
		return 0, refuse(key, fmt.Sprintf("%s must be a whole number from 1 to %d", key, most))
	}
	return int(number), nil
}

// readAddress gives the connection as a URL, from the one that is set or from its parts. Errors do
// not show it: it has the password.
func readAddress(texts map[string]string, port int) (*url.URL, error) {
	if texts["url"] == "" {
		return addressOf(texts, port)
	}
	for _, key := range []string{"host", "user", "password"} {
		if texts[key] != "" {
			return nil, refuse(key, fmt.Sprintf("%s is set beside url, which has it", key))
		}
	}
	address, err := url.Parse(texts["url"])
	if err != nil || address.Scheme != "postgres" && address.Scheme != "postgresql" {
		return nil, refuse("url", "url is no address such as postgres://user@db.example.com:5432/aperio")
	}
	return address, nil
}

func addressOf(texts map[string]string, port int) (*url.URL, error) {
	for _, key := range []string{"host", "user"} {
		if texts[key] == "" {
			return nil, refuse(key, fmt.Sprintf("%s is not set, and neither is url", key))
		}
	}
	address := &url.URL{Scheme: "postgres", Path: "/" + texts["database"], User: url.User(texts["user"])}
	if texts["password"] != "" {
		address.User = url.UserPassword(texts["user"], texts["password"])
	}
	query := url.Values{}
	if host := texts["host"]; path.IsAbs(host) {
		query.Set("host", host)
		query.Set("port", strconv.Itoa(port))
	} else {
		address.Host = net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(port))
	}
	address.RawQuery = query.Encode()
	return address, nil
}

// readSchema gives the schema: the setting, else the URL's, which PostgreSQL would not understand.
func readSchema(stated string, address *url.URL) (string, error) {
	query := address.Query()
	found, key := stated, "schema"
	if found == "" {
		if found = query.Get("schema"); found != "" {
			key = "url"
		}
	}
	if query.Has("schema") {
		query.Del("schema")
		address.RawQuery = query.Encode()
	}
	if found == "" {
		found = defaultSchema
	}
	if !schemaName.MatchString(found) {
		return "", refuse(key, "schema is no name of letters, digits and _")
	}
	return found, nil
}

// readPool gives how to connect.
func readPool(
	address *url.URL, texts map[string]string, timeout time.Duration,
) (*pgxpool.Config, error) {
	if err := settleTLS(address, texts["sslmode"]); err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(address.String())
	if err != nil {
		key := "url"
		if texts["url"] == "" {
			key = "host"
		}
		return nil, refuse(key, "PostgreSQL's driver does not understand the connection that is set")
	}
	if err := trust(config, texts["ca"]); err != nil {
		return nil, err
	}
	config.MinConns, config.MinIdleConns, config.MaxConns = 0, 0, mostConnections
	config.MaxConnIdleTime, config.HealthCheckPeriod = idleFor, idleFor/2
	config.ConnConfig.ConnectTimeout = timeout
	if !address.Query().Has("default_query_exec_mode") {
		// Named statements stay with one connection of the server: a pooler that hands it to somebody
		// else between two transactions (PgBouncer, pool_mode=transaction) would mix them up.
		config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	parameters := config.ConnConfig.RuntimeParams
	parameters["timezone"] = "UTC"         // the columns of times have no zone
	parameters["client_encoding"] = "UTF8" // whatever the URL says: it is what is sent
	if parameters["application_name"] == "" {
		parameters["application_name"] = "aperio-postgres"
	}
	return config, nil
}

// settleTLS writes into the URL whether there is TLS, and what is checked of it.
func settleTLS(address *url.URL, mode string) error {
	query := address.Query()
	if mode == tlsAuto && query.Has("sslmode") {
		return nil
	}
	if mode == tlsAuto {
		query.Set("sslmode", "prefer")
		address.RawQuery = query.Encode()
		tried, err := pgxpool.ParseConfig(address.String())
		if err != nil {
			return refuse("url", "PostgreSQL's driver does not understand the connection that is set")
		}
		mode = "prefer"
		hosts := []string{tried.ConnConfig.Host}
		for _, fallback := range tried.ConnConfig.Fallbacks {
			hosts = append(hosts, fallback.Host)
		}
		for _, host := range hosts {
			if !isHere(host) {
				mode = "verify-full"
			}
		}
	}
	query.Set("sslmode", mode)
	address.RawQuery = query.Encode()
	return nil
}

func isHere(host string) bool {
	ip := net.ParseIP(host)
	return path.IsAbs(host) || host == "localhost" || ip != nil && ip.IsLoopback()
}

// trust has the server's certificate be checked by these authorities instead of the system's.
func trust(config *pgxpool.Config, authorities string) error {
	if authorities == "" {
		return nil
	}
	data, err := base64.StdEncoding.DecodeString(authorities)
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(data) {
		return refuse("ca", "ca is no PEM file with certificates in base64")
	}
	isUsed := false
	if config.ConnConfig.TLSConfig != nil {
		config.ConnConfig.TLSConfig.RootCAs, isUsed = pool, true
	}
	for _, fallback := range config.ConnConfig.Fallbacks {
		if fallback.TLSConfig != nil {
			fallback.TLSConfig.RootCAs, isUsed = pool, true
		}
	}
	if !isUsed {
		return refuse("ca", "ca is set, and sslmode asks for no TLS")
	}
	return nil
}

func refuse(key, summary string) error {
	return &aperio.Error{
		Cause: aperio.InvalidConfig, Summary: summary,
		Attribute: aperio.Path{aperio.Key(key)},
	}
}
