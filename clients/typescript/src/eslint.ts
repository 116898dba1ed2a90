// An ESLint plugin that finds credentials on their way into a URL. It imports nothing, not even ESLint.

import { isCredentialName } from './endpoint.js';

// The few parts of ESLint's and ESTree's types that are used here.
interface Node {
  type: string;
  range: [number, number];
  parent?: Node;
  [part: string]: unknown;
}
interface Fixer {
  replaceText(node: Node, text: string): unknown;
}
interface Context {
  sourceCode: { getText(node: Node): string; getScope(node: Node): Scope };
  report(problem: {
    node: Node;
    messageId: string;
    data?: Record<string, string>;
    fix?: ((fixer: Fixer) => unknown) | null;
    suggest?: { messageId: string; fix(fixer: Fixer): unknown }[];
  }): void;
}
interface Scope {
  set: Map<string, { defs: { node: Node }[] }>;
  upper: Scope | null;
}

/** A rule in the form that ESLint takes. */
export interface Rule {
  meta: Record<string, unknown>;
  create(context: Context): Record<string, (node: Node) => void>;
}

const MESSAGES = {
  url: 'A credential in query parameter `{{name}}` ends up in logs and histories: send it in a header or a subprotocol.',
  builder: '`buildWebSocketUrl` puts a credential into the URL: use `buildWebSocketOptions`.',
  subprotocol: 'Offer the credential as a subprotocol.',
};

/** `…?name=` at the end of a text, so that what comes next is the value. */
const OPEN_PARAMETER = /[?&]([\w.-]+|[\w.-]*%[\w%.-]+)=$/;
/** Every `?name=value` in a text. */
const PARAMETER = /[?&]([\w.-]+)=([^&#\s'"`]*)/g;
/** Words that are as often the name of something harmless. */
const AMBIGUOUS = /^(key|token|auth|credentials?)$/i;

const noCredentialInUrl: Rule = {
  meta: {
    type: 'problem',
    docs: { description: 'disallow credentials in URLs' },
    fixable: 'code',
    hasSuggestions: true,
    schema: [],
    messages: MESSAGES,
  },
  create(context) {
    const report = (node: Node, name: string, value?: Node) => {
      const plan = value && remedy(context, node, name, value);
      context.report({ node, messageId: 'url', data: { name }, ...plan });
    };
    const names = (node: Node | undefined) => {
      for (const name of namesIn(node)) if (isCredentialName(name.text)) report(name.node, name.text);
    };
    return {
      TemplateLiteral(node) {
        const quasis = list(node['quasis']);
        const values = list(node['expressions']);
        quasis.forEach((quasi, at) => {
          const text = cooked(quasi);
          const name = OPEN_PARAMETER.exec(text)?.[1];
          const value = values[at];
          if (value && name && isCredentialName(decoded(name))) report(node, decoded(name), value);
          else reportLiteral(text, node, report);
        });
      },
      Literal(node) {
        if (typeof node['value'] !== 'string') return;
        const name = OPEN_PARAMETER.exec(node['value'])?.[1];
        const sum = name && isCredentialName(decoded(name)) && sumWith(node);
        if (name && sum) report(sum, decoded(name), sum['right'] as Node);
        else reportLiteral(node['value'], node, report);
      },
      CallExpression(node) {
        const callee = node['callee'] as Node;
        const [first] = list(node['arguments']);
        const method = nameOf(callee['property'] as Node | undefined);
        if (nameOf(callee) === 'buildWebSocketUrl' || method === 'buildWebSocketUrl') {
          context.report({ node: callee, messageId: 'builder' });
        } else if (callee.type === 'MemberExpression' && (method === 'set' || method === 'append')) {
          const name = first && textOf(first);
          if (name !== undefined && isCredentialName(name) && isParameters(context, callee['object'] as Node)) {
            report(node, name);
          }
        }
      },
      ImportSpecifier(node) {
        if (nameOf(node['imported'] as Node) === 'buildWebSocketUrl') context.report({ node, messageId: 'builder' });
      },
      NewExpression(node) {
        if (nameOf(node['callee'] as Node) !== 'URLSearchParams') return;
        const [first] = list(node['arguments']);
        if (first?.type === 'Literal' && typeof first['value'] === 'string') {
          reportLiteral(`?${first['value']}`, first, report);
        } else if (first?.type === 'BinaryExpression' || first?.type === 'TemplateLiteral') {
          const start =
            first.type === 'TemplateLiteral' ? cooked(list(first['quasis'])[0]) : textOf(first['left'] as Node);
          const name = /(?:^|&)([\w.-]+)=$/.exec(start ?? '')?.[1];
          if (name && !/[?&][\w.-]+=$/.test(start ?? '') && isCredentialName(name)) report(first, name);
        } else names(first);
      },
      // As axios and its like take them.
      Property(node) {
        if (nameOf(node['key'] as Node) === 'params') names(node['value'] as Node);
      },
    };
  },
};

function reportLiteral(text: string, node: Node, report: (node: Node, name: string) => void): void {
  for (const [, name = '', value = ''] of text.matchAll(PARAMETER)) {
    // A short value of an ambiguous name may be anything: `?key=photo.jpg`.
    const isLikely = AMBIGUOUS.test(name) ? /^[\w.~/%+-]{16,}$/.test(value) && /\d/.test(value) : value !== '';
    if (isLikely && isCredentialName(name)) {
      report(node, name);
      return;
    }
  }
}

/** What can be done: `fetch` gets a header at once; a WebSocket's subprotocol is only suggested, as it can throw. */
function remedy(context: Context, url: Node, name: string, value: Node) {
  const call = url.parent;
  const [only, ...more] = list(call?.['arguments']);
  // Evaluated once before and once after, so only what has no effects.
  const bare = unencoded(value);
  const isPlain = bare.type === 'Identifier' || (bare.type === 'MemberExpression' && !bare['computed']);
  if (!call || only !== url || more.length > 0 || !isPlain) return;
  const clean = cleaned(context, url, value);
  if (clean === undefined) return;
  const text = context.sourceCode.getText(bare);
  const callee = nameOf(call['callee'] as Node);
  const header = /^x?-?api[-_]?key$/i.test(name)
    ? `'X-API-Key': ${text}`
    : /^access[-_]?token$/i.test(name)
      ? `Authorization: \`Bearer \${${text}}\``
      : undefined;
  if (callee === 'fetch' && call.type === 'CallExpression' && header) {
    return { fix: (fixer: Fixer) => fixer.replaceText(url, `${clean}, { headers: { ${header} } }`) };
  }
  if (callee === 'WebSocket' && call.type === 'NewExpression') {
    const protocols = `['keymoat.v1', \`api-key.\${${text}}\`]`;
    const fix = (fixer: Fixer) => fixer.replaceText(url, `${clean}, ${protocols}`);
    return { suggest: [{ messageId: 'subprotocol', fix }] };
  }
  return;
}

/** The code of the URL without the parameter whose value is `value`, if that is its end. */
function cleaned(context: Context, url: Node, value: Node): string | undefined {
  const [start, end] = url.range;
  const text = context.sourceCode.getText(url);
  const before = text.slice(0, value.range[0] - start);
  const after = text.slice(value.range[1] - start);
  if (url.type === 'TemplateLiteral') {
    if (!/^\s*\}`$/.test(after)) return;
    const closed = before.replace(/[?&][\w.-]+=\$\{\s*$/, '`');
    return closed.endsWith('`') ? closed : undefined;
  }
  if (after !== '' || value.range[1] !== end) return;
  const literal = before.replace(/[?&][\w.-]+=(['"])\s*\+\s*$/, '$1');
  return literal === before ? undefined : literal;
}

/** The sum that puts something right behind `text`. */
function sumWith(text: Node): Node | undefined {
  const { parent } = text;
  const isLast = parent?.['right'] === text;
  const sum = isLast ? parent?.parent : parent;
  const isSum = sum?.type === 'BinaryExpression' && sum['operator'] === '+';
  return isSum && sum['left'] === (isLast ? parent : text) ? sum : undefined;
}

function unencoded(value: Node): Node {
  const [inner] = list(value['arguments']);
  const isCall = value.type === 'CallExpression' && nameOf(value['callee'] as Node) === 'encodeURIComponent';
  return isCall && inner ? inner : value;
}

/** Whether an expression stands for the query of a URL. */
function isParameters(context: Context, node: Node): boolean {
  if (node.type === 'MemberExpression') return nameOf(node['property'] as Node) === 'searchParams';
  if (node.type === 'NewExpression') return nameOf(node['callee'] as Node) === 'URLSearchParams';
  const name = nameOf(node);
  if (name === undefined) return false;
  for (let scope: Scope | null = context.sourceCode.getScope(node); scope; scope = scope.upper) {
    const found = scope.set.get(name);
    if (!found) continue;
    const init = found.defs[0]?.node['init'] as Node | undefined;
    return init !== undefined && init !== null && init.type !== 'Identifier' && isParameters(context, init);
  }
  return false;
}

/** The names in `{ name: value }` and `[['name', value]]`. */
function namesIn(node: Node | undefined): { node: Node; text: string }[] {
  const entries = node?.type === 'ObjectExpression' ? list(node['properties']) : list(node?.['elements']);
  return entries.flatMap((entry) => {
    const key = entry.type === 'Property' && !entry['computed'] ? (entry['key'] as Node) : list(entry['elements'])[0];
    const text = key && (key.type === 'Literal' ? textOf(key) : entry.type === 'Property' ? nameOf(key) : undefined);
    return text === undefined ? [] : [{ node: entry, text }];
  });
}

const list = (nodes: unknown): Node[] => (Array.isArray(nodes) ? (nodes as Node[]).filter(Boolean) : []);
const nameOf = (node: Node | undefined): string | undefined =>
  node?.type === 'Identifier' ? (node['name'] as string) : node?.type === 'Literal' ? textOf(node) : undefined;
const textOf = (node: Node): string | undefined => (typeof node['value'] === 'string' ? node['value'] : undefined);
const cooked = (quasi: Node | undefined): string => (quasi?.['value'] as { cooked?: string } | undefined)?.cooked ?? '';

function decoded(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

const rules = { 'no-credential-in-url': noCredentialInUrl };
const plugin = { meta: { name: 'keymoat' }, rules };

/** The plugin. `keymoat.configs.recommended` turns its rule on. */
const keymoat: typeof plugin & {
  configs: { recommended: { plugins: { keymoat: typeof plugin }; rules: Record<string, 'error'> } };
} = {
  ...plugin,
  configs: { recommended: { plugins: { keymoat: plugin }, rules: { 'keymoat/no-credential-in-url': 'error' } } },
};

export default keymoat;
