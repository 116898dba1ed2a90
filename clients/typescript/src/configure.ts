// What is said once for the whole program.

import { resolve } from './endpoint.js';
import { type Credential, sourceOf, type TokenSource } from './token-source.js';

/** What every call falls back to. */
export interface Configuration {
  /** The credential, or where it comes from. An empty one is none. */
  token?: Credential | undefined;
  /** The gateway, such as `https://gateway.example`. Default: the page's own origin. */
  baseUrl?: string | undefined;
}

let source: TokenSource | undefined;
let baseUrl: string | undefined;

/** Sets the credential, the gateway, or both; what is not named stays. */
export function configure(configuration: Configuration): void {
  if (configuration.baseUrl !== undefined) resolve('/', 'http', { baseUrl: configuration.baseUrl });
  if ('token' in configuration) source = sourceOf(configuration.token);
  if ('baseUrl' in configuration) baseUrl = configuration.baseUrl;
}

/** The given source, else the configured one. */
export const sourceFor = (credential: Credential | undefined): TokenSource | undefined =>
  credential === undefined ? source : sourceOf(credential);

/** The given base, else the configured one. */
export const baseUrlFor = (given: string | undefined): string | undefined => given ?? baseUrl;
