// `npm run dev -- --mode fake`: every screen without a gateway.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Plugin } from 'vite';
import { answer } from './api.ts';

export function fake(): Plugin {
  return {
    name: 'keymoat-fake-api',
    configureServer(server) {
      server.middlewares.use((request, response, next) => {
        if (!request.url?.startsWith('/api/v1/')) {
          next();
          return;
        }
        void reply(request, response);
      });
    },
  };
}

async function reply(request: IncomingMessage, response: ServerResponse): Promise<void> {
  let text = '';
  for await (const chunk of request) text += String(chunk);
  const url = new URL(request.url ?? '/', 'http://fake');
  const body: unknown = text ? JSON.parse(text) : undefined;
  const { status, data } = answer(request.method ?? 'GET', url.pathname.slice('/api/v1'.length), url.searchParams, body);
  response.writeHead(status, { 'content-type': status < 400 ? 'application/json' : 'application/problem+json' });
  response.end(data === undefined ? '' : JSON.stringify(data));
}
