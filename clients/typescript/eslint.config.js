// Lints this package, with its own rule too.

import js from '@eslint/js';
import tseslint from 'typescript-eslint';

const NODE = [
  'process',
  'console',
  'fetch',
  'Headers',
  'Response',
  'setTimeout',
  'clearTimeout',
  'btoa',
  'AbortController',
  'Buffer',
  'URL',
];

export default tseslint.config(
  { ignores: ['dist', 'node_modules', 'tests/runtimes/node_modules'] },
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  js.configs.recommended,
  { files: ['**/*.mjs'], languageOptions: { globals: Object.fromEntries(NODE.map((name) => [name, 'readonly'])) } },
  {
    // These run in the page.
    files: ['tests/runtimes/page.mjs', 'tests/runtimes/admin-page.mjs'],
    languageOptions: {
      globals: Object.fromEntries(
        ['keymoat', 'shim', 'GoogleGenAI', 'Modality', 'WebSocket', 'inPage'].map((name) => [name, 'readonly']),
      ),
    },
  },
  {
    files: ['**/*.ts', '**/*.tsx'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { project: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/no-confusing-void-expression': 'off',
      // A signal may have ended while a listener ran, which types do not show.
      '@typescript-eslint/no-unnecessary-condition': 'off',
      // JSON from outside is taken apart first, and each part is checked where it is used.
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
    },
  },
  {
    // Tests look at what has no types: vectors, fakes, and what a mock was called with.
    files: ['tests/**/*.ts', 'tests/**/*.tsx', '*.ts'],
    extends: [tseslint.configs.disableTypeChecked],
    rules: { '@typescript-eslint/no-extraneous-class': 'off' },
  },
);
