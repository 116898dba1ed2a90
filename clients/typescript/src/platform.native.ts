// React Native: no page, and a WebSocket that takes headers as its third argument.

/** It is. */
export const isReactNative = (): boolean => true;

/** It is none. */
export const isBrowser = (): boolean => false;

/** It does. */
export const hasThirdArgument = (): boolean => true;
