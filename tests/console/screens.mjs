// Every screen of the console, by name and address; `key`, `route` and `upstream` are filled in by what there is.
export const screens = ({ key, route, upstream }) => ({
  overview: '/',
  keys: '/keys',
  key: `/keys/${key}`,
  'new-key': '/keys/new',
  import: '/keys/import',
  traffic: '/traffic',
  sessions: '/sessions',
  tokens: '/tokens',
  routes: '/routes',
  route: `/routes/${route}`,
  upstream: `/upstreams/${upstream}`,
  audit: '/audit',
  redaction: '/redaction',
  people: '/people',
});

/** The pictures of the book: which screen, how wide, in which theme. */
export const SHOWN = [
  ['overview', 'wide', 'light'],
  ['traffic', 'wide', 'dark'],
  ['key', 'wide', 'light'],
  ['keys', 'phone', 'light'],
  ['overview', 'phone', 'dark'],
];
