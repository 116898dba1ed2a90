// Where clients reach the gateway, for the snippets.

import { useLoaded } from './api/query.ts';
import type { Health, Route } from './api/types.ts';
import type { Target } from './snippets.ts';

const UNKNOWN = 'https://gateway.example';

/** The address of the gateway's data listener: the one with TLS if there is one. */
export function useGateway(): string {
  const { data } = useLoaded<Health>('/health');
  return data?.gateway_tls ?? data?.gateway ?? UNKNOWN;
}

/** A path that a route takes, without the places where anything may stand. */
export function targetFor(base: string, route: Route | undefined): Target {
  const paths = route?.paths ?? [];
  const path = (paths.find((path) => !path.includes('*')) ?? paths[0] ?? '/').replace(/\*.*$/, '');
  return { base, path, isWebSocket: /\/ws(\/|$)|live|realtime|bidi/i.test(path) };
}
