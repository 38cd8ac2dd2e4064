-- The tables of Aperio's server that this plugin meets: names, types, limits, keys and defaults as its
-- documentation states them. Made in the schema that the search path begins with.
CREATE TYPE "SaaSProvider" AS ENUM
	('GITHUB', 'SLACK', 'GOOGLE_WORKSPACE', 'ONE_PASSWORD', 'OKTA', 'MICROSOFT_365', 'ATLASSIAN', 'SALESFORCE');
CREATE TYPE "IngestionJobStatus" AS ENUM ('QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'DEAD_LETTER');
CREATE TYPE "FindingSeverity" AS ENUM ('CRITICAL', 'HIGH', 'MEDIUM', 'LOW', 'INFO');
CREATE TYPE "FindingStatus" AS ENUM ('OPEN', 'RESOLVED', 'MUTED');

CREATE TABLE organizations (id text PRIMARY KEY);
CREATE TABLE integration_connections (
	id text PRIMARY KEY,
	organization_id text NOT NULL REFERENCES organizations (id) ON DELETE CASCADE
);

CREATE TABLE ingestion_jobs (
	id text PRIMARY KEY,
	organization_id text NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
	integration_id text NOT NULL REFERENCES integration_connections (id) ON DELETE CASCADE,
	provider "SaaSProvider" NOT NULL,
	event_type varchar(180) NOT NULL,
	source varchar(180) NOT NULL,
	actor varchar(255),
	occurred_at timestamp(3) NOT NULL,
	payload jsonb NOT NULL,
	status "IngestionJobStatus" NOT NULL DEFAULT 'QUEUED',
	attempts integer NOT NULL DEFAULT 0,
	max_attempts integer NOT NULL DEFAULT 3,
	next_attempt_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
	lease_owner varchar(180),
	lease_expires_at timestamp(3),
	last_error varchar(500),
	processed_at timestamp(3),
	created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
	updated_at timestamp(3) NOT NULL
);

CREATE TABLE security_findings (
	id text PRIMARY KEY,
	organization_id text NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
	integration_id text NOT NULL REFERENCES integration_connections (id) ON DELETE CASCADE,
	asset_id text,
	dedupe_key varchar(128) NOT NULL,
	title varchar(220) NOT NULL,
	description text NOT NULL,
	severity "FindingSeverity" NOT NULL,
	status "FindingStatus" NOT NULL DEFAULT 'OPEN',
	risk_score integer NOT NULL,
	remediation_steps text[],
	tags text[] NOT NULL DEFAULT ARRAY[]::text[],
	evidence jsonb NOT NULL,
	detected_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
	resolved_at timestamp(3),
	resolved_by_id text,
	updated_at timestamp(3) NOT NULL,
	UNIQUE (organization_id, dedupe_key)
);

INSERT INTO organizations VALUES ('local'), ('org_1'), ('org_2');
INSERT INTO integration_connections VALUES
	('local', 'local'), ('int_1', 'local'), ('int_2', 'org_2'), ('int_3', 'org_1');
