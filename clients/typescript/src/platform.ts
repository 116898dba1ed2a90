// What this JavaScript runs on: a browser, or a server. React Native is built with `platform.native.ts` instead.

interface Surroundings {
  document?: unknown;
  WorkerGlobalScope?: unknown;
  process?: { versions?: { node?: string } };
  Deno?: unknown;
  Bun?: unknown;
  navigator?: { product?: string };
  WebSocket?: unknown;
}

const surroundings = globalThis as Surroundings;

/** React Native, where a bundler did not honour the `react-native` export condition. */
export const isReactNative = (): boolean => surroundings.navigator?.product === 'ReactNative';

/** A page or one of its workers: code that everybody can read, and WebSockets without headers. */
export const isBrowser = (): boolean =>
  !isReactNative() &&
  (surroundings.document !== undefined ||
    (surroundings.WorkerGlobalScope !== undefined &&
      !surroundings.process?.versions?.node &&
      !surroundings.Deno &&
      !surroundings.Bun));

/** Whether the WebSocket at hand takes headers as its third argument: React Native's, and `ws` where Node has none. */
export const hasThirdArgument = (): boolean =>
  isReactNative() || (!isBrowser() && surroundings.WebSocket === undefined);
