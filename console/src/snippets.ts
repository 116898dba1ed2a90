// What to paste into a client. No snippet puts a key into a URL, and none holds a key: they read it from where it is kept.

import type { SunsetRow } from './api/types.ts';

/** The gateway as clients reach it, and a path on it. */
export interface Target {
  base: string;
  path: string;
  isWebSocket: boolean;
}

const ws = (url: string) => url.replace(/^http/, 'ws');
/** A text that stands between quotes in any of the languages, whatever a name holds. */
const quoted = (text: string) => JSON.stringify(text).replaceAll('$', '\\u0024').replaceAll('`', '\\u0060');
const shell = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;

/** How each kind of client sends its key. */
export function keySnippets(target: Target): readonly (readonly [string, string])[] {
  return [
    ['curl', curl(target)],
    ['Browser', browser(target)],
    ['React Native', reactNative(target)],
    ['Python', python(target)],
  ];
}

export const curl = ({
  base,
  path,
  isWebSocket,
}: Target): string => `# Paste the key and press Enter: it is not shown and stays out of the history.
read -rs KEYMOAT_KEY && export KEYMOAT_KEY
${
  isWebSocket
    ? `keymoat ws ${shell(ws(base) + path)} --carrier header:x-api-key --secret-file <(printf %s "$KEYMOAT_KEY")`
    : `curl --header @<(printf 'X-API-Key: %s' "$KEYMOAT_KEY") ${shell(base + path)}`
}`;

export const browser = ({ base, path, isWebSocket }: Target): string =>
  isWebSocket
    ? `// The key stays on your server, which mints a token for whoever is signed in:
//   POST ${base}/keymoat/v1/tokens   X-API-Key: <the key>
import { createWebSocket, TokenSource } from 'keymoat';

const socket = createWebSocket(${quoted(path)}, {
  baseUrl: ${quoted(base)},
  token: TokenSource.endpoint('/api/token'), // a route of your server that passes the token on
});
socket.addEventListener('message', ({ data }) => console.log(data));`
    : `// The key stays on your server, which mints a token for whoever is signed in:
//   POST ${base}/keymoat/v1/tokens   X-API-Key: <the key>
import { createFetch, TokenSource } from 'keymoat';

const ask = createFetch({
  origins: [${quoted(base)}],
  token: TokenSource.endpoint('/api/token'), // a route of your server that passes the token on
});
const response = await ask(${quoted(base + path)});`;

export const reactNative = ({ base, path, isWebSocket }: Target): string =>
  isWebSocket
    ? `// An app can be taken apart: give it tokens of your server, not the key.
import { buildWebSocketOptions, TokenSource } from 'keymoat';

const source = TokenSource.endpoint('https://your-server.example/api/token');
const { url, protocols, headers } = buildWebSocketOptions(${quoted(path)}, {
  baseUrl: ${quoted(base)},
  token: await source.fetch(),
});
const socket = new WebSocket(url, protocols, { headers });`
    : `// An app can be taken apart: give it tokens of your server, not the key.
import { createFetch, TokenSource } from 'keymoat';

const ask = createFetch({
  origins: [${quoted(base)}],
  token: TokenSource.endpoint('https://your-server.example/api/token'),
});
const response = await ask(${quoted(base + path)});`;

export const python = ({ base, path, isWebSocket }: Target): string =>
  isWebSocket
    ? `import asyncio, os
from websockets.asyncio.client import connect

async def main():
    headers = {"X-API-Key": os.environ["KEYMOAT_KEY"]}
    async with connect(${quoted(ws(base) + path)}, additional_headers=headers) as socket:
        async for message in socket:
            print(message)

asyncio.run(main())`
    : `import os
import requests

response = requests.get(
    ${quoted(base + path)},
    headers={"X-API-Key": os.environ["KEYMOAT_KEY"]},
)
print(response.json())`;

/** What one client that still sends its key in the URL has to change, by what it says it is. */
export function fixFor(
  row: Pick<SunsetRow, 'user_agent' | 'carrier'>,
  target: Target,
): { title: string; text: string } {
  const agent = (row.user_agent ?? '').toLowerCase();
  const parameter = row.carrier.split(':')[1] ?? 'api_key';
  const before = (mark: string) =>
    `${mark} before: ${target.isWebSocket ? ws(target.base) : target.base}${target.path}?${parameter}=…\n`;
  if (/python|websockets|aiohttp|httpx/.test(agent)) return { title: 'Python', text: before('#') + python(target) };
  if (/okhttp|cfnetwork|expo|reactnative/.test(agent)) {
    return { title: 'React Native', text: before('//') + reactNative(target) };
  }
  if (/mozilla/.test(agent)) return { title: 'Browser', text: before('//') + browser(target) };
  return { title: 'curl', text: before('#') + curl(target) };
}
