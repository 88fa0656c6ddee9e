// nginx, haproxy and caddy with what they can do of the gate's work: the same key, the same methods and paths, a limit
// (caddy has none), the credential put on, a JSON line a request. Each returns undefined where it is not installed.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { freePort } from '../../support/gate-process.mjs'
import { targets } from '../mix.mjs'
import { MEASURED, run } from '../processes.mjs'

function installed (command) {
  try { execFileSync('which', [command], { stdio: 'ignore' }); return true } catch { return false }
}

/** Method and path of every call that is allowed, as one expression each. */
function patterns () {
  const seen = new Set(targets.map(({ method, template }) => `${method} ^${template.replaceAll('.', '\\.').replace(/\{\w+\}/g, '[A-Za-z0-9@._-]+')}$`))
  return [...seen].map(text => text.split(' '))
}

async function listening (port, child) {
  for (let i = 0; i < 100; i++) {
    if (child.exitCode !== null) throw new Error(child.complaints)
    const open = await new Promise(resolve => { const socket = net.connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true) }).on('error', () => resolve(false)) })
    if (open) return
    await new Promise(resolve => setTimeout(resolve, 50))
  }
  throw new Error(`nothing listens: ${child.complaints}`)
}

export async function startNginx (folder, upstream, key) {
  if (!installed('nginx')) return undefined
  const port = await freePort()
  mkdirSync(path.join(folder, 'nginx'), { recursive: true })
  const file = path.join(folder, 'nginx/nginx.conf')
  writeFileSync(file, `daemon off; worker_processes 1; pid ${folder}/nginx/pid; error_log ${folder}/nginx/error.log warn;
events { worker_connections 2048; }
http {
  access_log off; client_body_temp_path ${folder}/nginx/body; proxy_temp_path ${folder}/nginx/proxy; fastcgi_temp_path ${folder}/nginx/f; uwsgi_temp_path ${folder}/nginx/u; scgi_temp_path ${folder}/nginx/s;
  map_hash_bucket_size 256; keepalive_requests 1000000000; keepalive_timeout 60s;
  map $http_authorization $client { default ""; "SSWS ${key}" bench; }
  map "$request_method $uri" $allowed { default 0;\n${patterns().map(([method, pattern]) => `    "~^${method} ${pattern.slice(1)}" 1;`).join('\n')}\n  }
  limit_req_zone $client zone=clients:1m rate=10000000r/m;
  log_format line escape=json '{"time":"$time_iso8601","client":"$client","method":"$request_method","path":"$uri","status":$status,"bytes":$body_bytes_sent,"duration":$request_time,"upstream":"$upstream_response_time","source":"$remote_addr","id":"$request_id"}';
  upstream okta { server ${new URL(upstream).host}; keepalive 128; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${port}; access_log ${folder}/nginx/access.log line; client_max_body_size 1m;
    location / {
      if ($client = "") { return 401; }
      if ($allowed = 0) { return 403; }
      limit_req zone=clients burst=100000 nodelay;
      proxy_pass http://okta; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Authorization "SSWS upstream-token"; proxy_hide_header Set-Cookie; proxy_buffers 16 64k;
    }
  }
}
`)
  const child = run('nginx', ['-c', file, '-p', path.join(folder, 'nginx')], { core: MEASURED })
  await listening(port, child)
  return { pid: child.pid, child, url: `http://127.0.0.1:${port}` }
}

export async function startHaproxy (folder, upstream, key) {
  if (!installed('haproxy')) return undefined
  const port = await freePort()
  mkdirSync(path.join(folder, 'haproxy'), { recursive: true })
  const file = path.join(folder, 'haproxy/haproxy.cfg')
  writeFileSync(path.join(folder, 'haproxy/keys.map'), `${createHash('sha256').update(key).digest('hex')} bench\n`)
  writeFileSync(path.join(folder, 'haproxy/allowed.lst'), `${patterns().map(([method, pattern]) => `^${method} ${pattern.slice(1)}`).join('\n')}\n`)
  writeFileSync(file, `global
  nbthread 1
  log stdout format raw local0
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  log global
frontend gate
  bind 127.0.0.1:${port}
  http-request set-var(txn.client) req.hdr(authorization),regsub(^SSWS\\ ,),sha2(256),hex,lower,map(${folder}/haproxy/keys.map)
  http-request deny deny_status 401 unless { var(txn.client) -m found }
  http-request set-var-fmt(txn.call) "%[method] %[path]"
  http-request deny deny_status 403 unless { var(txn.call) -m reg -f ${folder}/haproxy/allowed.lst }
  stick-table type string len 64 size 1m expire 2m store http_req_rate(60s)
  http-request track-sc0 var(txn.client)
  http-request deny deny_status 429 if { sc_http_req_rate(0) gt 100000000 }
  http-request set-header Authorization "SSWS upstream-token"
  http-response del-header Set-Cookie
  log-format '{"time":"%t","client":"%[var(txn.client)]","method":"%HM","path":"%HPO","status":%ST,"bytes":%B,"duration":%Tt,"source":"%ci"}'
  default_backend okta
backend okta
  http-reuse always
  server okta ${new URL(upstream).host} maxconn 128
`)
  const child = run('sh', ['-c', `exec haproxy -f ${file} > ${folder}/haproxy/access.log`], { core: MEASURED })
  await listening(port, child)
  return { pid: child.pid, child, url: `http://127.0.0.1:${port}` }
}

export async function startCaddy (folder, upstream, key) {
  if (!installed('caddy')) return undefined
  const port = await freePort()
  mkdirSync(path.join(folder, 'caddy'), { recursive: true })
  const file = path.join(folder, 'caddy/Caddyfile')
  const matchers = patterns().map(([method, pattern], i) => `    @m${i} {\n      method ${method}\n      path_regexp ${pattern}\n    }\n    handle @m${i} {\n      import forward\n    }`)
  writeFileSync(file, `{
  admin off
  auto_https off
}
(forward) {
  reverse_proxy ${new URL(upstream).host} {
    header_up Authorization "SSWS upstream-token"
    header_down -Set-Cookie
    transport http {
      keepalive_idle_conns_per_host 128
    }
  }
}
http://127.0.0.1:${port} {
  bind 127.0.0.1
  log {
    output file ${folder}/caddy/access.log
    format json
  }
  @stranger not header Authorization "SSWS ${key}"
  handle @stranger {
    respond 401
  }
${matchers.join('\n')}
  handle {
    respond 403
  }
}
`)
  const child = run('caddy', ['run', '--config', file, '--adapter', 'caddyfile'], { core: MEASURED, env: { HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder, GOMAXPROCS: '1' } })
  child.stdout.resume()
  await listening(port, child)
  return { pid: child.pid, child, url: `http://127.0.0.1:${port}` }
}
