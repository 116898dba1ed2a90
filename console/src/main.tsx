// Where the console begins. `claim.ts` is read first: its secret leaves the address bar before anything is drawn or asked for.

import { claim } from './claim.ts';
import { render } from 'preact';
import { App } from './app.tsx';
import { followLinks } from './routing.tsx';
import { applyTheme } from './theme.ts';
import './styles/tokens.css';
import './styles/base.css';
import './styles/ui.css';
import './styles/screens.css';

applyTheme();
followLinks();
const root = document.getElementById('app');
if (root) render(<App claim={claim} />, root);
