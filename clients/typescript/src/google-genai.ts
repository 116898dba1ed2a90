// Makes Google's unmodified JavaScript SDK carry its token in a subprotocol: in a browser it knows the URL only.

import { baseUrlFor } from './configure.js';
import { isAbsent } from './credential.js';
import { originOf, pageOrigin, resolve } from './endpoint.js';
import { KeymoatError } from './errors.js';
import { connectionTo } from './options.js';

/** For which gateway. */
export interface SubprotocolShimOptions {
  /** What the SDK has as `httpOptions.baseUrl`. Only WebSockets to its origin are changed. Default: the configured one, else the page's origin. */
  baseUrl?: string | undefined;
  /** Takes a long-lived key in a page, where everybody can read it. For trying things out on your own machine. */
  dangerouslyAllowLongLivedKey?: boolean | undefined;
}

type Constructor = typeof WebSocket;

/**
 * Replaces the global `WebSocket`, and returns what puts it back.
 *
 * A WebSocket to the gateway's origin loses `?key=` and `?access_token=`, and offers `keymoat.v1` and the credential
 * as a subprotocol. All others are left alone.
 */
export function carryTokensInSubprotocols(options: SubprotocolShimOptions = {}): () => void {
  const place = globalThis as { WebSocket?: Constructor };
  const native = place.WebSocket;
  if (native === undefined) throw new KeymoatError('websocket_missing', 'there is no global WebSocket to replace');
  const replaced = subprotocolWebSocket(native, options);
  place.WebSocket = replaced;
  return () => {
    // Somebody else's replacement, made since, stays.
    if (place.WebSocket === replaced) place.WebSocket = native;
  };
}

/** The same as a class, for code that takes a constructor. */
export function subprotocolWebSocket(native: Constructor, options: SubprotocolShimOptions = {}): Constructor {
  const base = baseUrlFor(options.baseUrl) ?? pageOrigin();
  const origin = originOf(resolve('/', 'http', { baseUrl: base }));
  return class extends native {
    constructor(url: string | URL, protocols: string | string[] = []) {
      const target = new URL(url, pageOrigin());
      if (originOf(target.href) !== origin) {
        super(url, protocols);
        return;
      }
      const found = ['access_token', 'key'].map((name) => {
        const values = target.searchParams.getAll(name);
        target.searchParams.delete(name);
        return values;
      });
      const credentials = new Set(found.flat().filter((value) => !isAbsent(value)));
      if (credentials.size > 1) {
        throw new KeymoatError('credential_in_url', 'the URL has two different credentials');
      }
      const [credential] = credentials;
      // What is left must be without a credential, and encrypted beyond this machine.
      const clean = resolve(target.href, 'ws', { allowParameters: [] });
      const opening = connectionTo(clean, credential, {
        carrier: 'subprotocol',
        protocols: [protocols].flat(),
        dangerouslyAllowLongLivedKey: options.dangerouslyAllowLongLivedKey,
      });
      super(opening.url, opening.protocols ?? []);
    }
  };
}
