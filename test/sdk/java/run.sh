#!/usr/bin/env bash
# Fetches Okta's Java SDK with Maven and runs the scenarios from source. Exit 75: it could not be fetched.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
jars=${SDK_CACHE:-${TMPDIR:-/tmp}/narrowgate-sdk-cache}/java
if ! ls "$jars"/okta-sdk-impl-*.jar >/dev/null 2>&1; then
  mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$jars" >&2 || exit 75
fi
keytool -importcert -noprompt -alias gate -file "$CA_FILE" -keystore "$WORK/trust.p12" -storetype PKCS12 -storepass changeit >/dev/null 2>&1 || exit 1
exec java -Djavax.net.ssl.trustStore="$WORK/trust.p12" -Djavax.net.ssl.trustStorePassword=changeit -cp "$jars/*" "$here/Scenarios.java"
