// Where a request goes: an absolute URL without a credential in it, encrypted unless it stays on this machine.

import { KeymoatError } from './errors.js';

/** How an endpoint is read. */
export interface EndpointOptions {
  /** What a relative endpoint is put behind, such as `https://gateway.example/prefix`. Default: the configured one, else the page's origin. */
  baseUrl?: string | undefined;
  /** Query parameters that have a credential's name and are none, such as `key` in `/objects?key=photo.jpg`. */
  allowParameters?: readonly string[] | undefined;
}

const ABSOLUTE = /^(https?|wss?):\/\/([^\s/?#\\@]+)(?=[/?#]|$)/i;
const LOOPBACK = /^(([\w-]+\.)*localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/i;
/** Names of parameters in lower case, without `-`, `_` and `.`. */
const CREDENTIAL_NAME =
  /^((x|xi|xgoog|xhume|xgladia)?(api)?key|(access|auth|bearer|ephemeral|id|refresh|singleuse|subscription|websocket)?token|jwt|auth(orization)?|(client)?secret|credentials?|password)$/;
const KEYMOAT_SHAPE = /km[ta]?_[0-9A-Za-z]{16}/;

/** Whether a query parameter of this name holds a credential. */
export const isCredentialName = (name: string): boolean =>
  CREDENTIAL_NAME.test(name.toLowerCase().replace(/[-_.]/g, ''));

/** An origin in one spelling: `https://host` or `http://host:8080`, for WebSocket URLs too. */
export function originOf(url: string): string | undefined {
  const [, scheme = '', host = ''] = ABSOLUTE.exec(url) ?? [];
  if (!host) return;
  const secure = /[ps]s$/i.test(scheme);
  return `http${secure ? 's' : ''}://${host.toLowerCase().replace(secure ? /:443$/ : /:80$/, '')}`;
}

/** The origin of the page, if there is one. */
export function pageOrigin(): string | undefined {
  const { location } = globalThis as { location?: { origin?: string } };
  return originOf(location?.origin ?? '');
}

/** Makes `endpoint` absolute, with `ws` or `wss` (`http` or `https`), and refuses what would show a credential. */
export function resolve(endpoint: string, scheme: 'ws' | 'http', options: EndpointOptions = {}): string {
  const isRelative = !/^[a-z][a-z0-9+.-]*:/i.test(endpoint);
  const base = options.baseUrl ?? (isRelative ? pageOrigin() : undefined);
  if (isRelative && base === undefined) {
    throw new KeymoatError('base_url_missing', 'a relative endpoint needs a `baseUrl` here');
  }
  const url = isRelative ? `${base?.replace(/\/+$/, '')}/${endpoint.replace(/^\/+/, '')}` : endpoint;
  refuseCredential(url, options.allowParameters);
  const origin = originOf(url);
  if (origin === undefined || (base !== undefined && /[?#]/.test(base)) || /[\0-\x20\x7f\\]/.test(url)) {
    throw new KeymoatError('url_invalid', 'an endpoint is a path or an absolute http(s) or ws(s) URL');
  }
  if (!isRelative && base !== undefined && originOf(base) !== origin) {
    throw new KeymoatError('origin_not_allowed', 'the endpoint is not on the origin of `baseUrl`');
  }
  if (!origin.startsWith('https:') && !LOOPBACK.test(origin.slice('http://'.length))) {
    throw new KeymoatError('insecure_url', 'beyond this machine only https and wss are used');
  }
  const rest = url.replace(ABSOLUTE, '').replace(/#.*$/s, '');
  return scheme + origin.slice('http'.length) + rest;
}

/** Refuses a URL with a credential in its user part, path, query or fragment. */
export function refuseCredential(url: string, allowParameters: readonly string[] = []): void {
  const where = credentialPlace(url, allowParameters);
  if (where !== undefined) {
    throw new KeymoatError(
      'credential_in_url',
      `a credential in the ${where} of a URL: give it as \`token\` (harmless ones go into \`allowParameters\`)`,
    );
  }
}

function credentialPlace(url: string, allowed: readonly string[]): string | undefined {
  if (/^[^/?#]*[\\/]{2}[^/?#\\]*@/.test(url)) return 'user part';
  if (KEYMOAT_SHAPE.test(decoded(url))) return 'text';
  const names = url.split(/[?&;#]/).slice(1);
  const isCredential = (pair: string) => {
    const name = decoded(pair.replace(/=.*$/s, ''));
    return isCredentialName(name) && !allowed.includes(name);
  };
  return names.some(isCredential) ? 'query' : undefined;
}

/** Undoes two layers of percent-encoding, as far as it is well formed. */
function decoded(text: string): string {
  for (let layer = 0; layer < 2; layer++) text = text.replace(/(%[0-9a-f]{2})+/gi, decodedRun);
  return text;
}

function decodedRun(run: string): string {
  try {
    return decodeURIComponent(run);
  } catch {
    return run;
  }
}
