// Keymoat's client: credentials in headers and subprotocols, never in URLs.

export type { ReconnectOptions } from './backoff.js';
export { type CloseAction, type CloseMeaning, closeMeaning } from './close.js';
export { type Configuration, configure } from './configure.js';
export { credentialProtocol, MARKER, type Token } from './credential.js';
export type { EndpointOptions } from './endpoint.js';
export { type ErrorCode, KeymoatError, UnauthorizedError } from './errors.js';
export { createEventStream, type EventStreamOptions } from './event-stream.js';
export { createFetch, type FetchOptions } from './fetch.js';
export { inspectCredential, type Shape } from './inspect.js';
export {
  buildHeaders,
  buildWebSocketOptions,
  type Carrier,
  type HeaderOptions,
  type WebSocketBuildOptions,
  type WebSocketConnectionOptions,
} from './options.js';
export {
  createWebSocket,
  type ReconnectingSocket,
  type ReconnectingSocketOptions,
  type ResumeContext,
  type SocketCloseEvent,
  type SocketEvents,
  type SocketState,
} from './socket.js';
export { createEventStreamParser, type EventStreamParser, type StreamEvent, type StreamPosition } from './sse.js';
export {
  type Credential,
  type RenewalOptions,
  type TokenContext,
  type TokenProvider,
  type TokenReason,
  type TokenRequest,
  TokenSource,
} from './token-source.js';
