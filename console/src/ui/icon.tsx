// Pictures beside words, drawn in one weight. They say nothing to a screen reader: the words do.

const PATHS = {
  overview: 'M3 20h18M6 16v-5M11 16V6M16 16v-7M21 16V9',
  keys: 'M14.5 9.5a4.5 4.5 0 1 1-3.2-4.3M11 12l9-9M17 6l3 3M14.5 8.5l2 2',
  traffic: 'M3 12h4l3-8 4 16 3-8h4',
  tokens: 'M12 3v3M12 18v3M5 12a7 7 0 1 0 14 0 7 7 0 0 0-14 0M12 8.5V12l2.5 1.5',
  routes: 'M5 6h6a3 3 0 0 1 3 3v6a3 3 0 0 0 3 3h2M5 6 8 3M5 6l3 3M19 18l-3-3M19 18l-3 3',
  audit: 'M7 3h10a2 2 0 0 1 2 2v16l-3-2-2 2-2-2-2 2-2-2-3 2V5a2 2 0 0 1 2-2M9 8h6M9 12h6',
  people:
    'M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7M2.5 20a6.5 6.5 0 0 1 13 0M16 4.5a3.5 3.5 0 0 1 0 6M21.5 20a6.5 6.5 0 0 0-4-6',
  menu: 'M4 7h16M4 12h16M4 17h16',
  close: 'M6 6l12 12M18 6 6 18',
  copy: 'M9 9h11v11H9zM5 15H4V4h11v1',
  check: 'M5 12.5 10 17.5 19 7',
  key: 'M15 4a5 5 0 1 1-4.6 7L4 17.5V20h3v-2h2v-2h2l1.5-1.5A5 5 0 0 1 15 4M16.5 7.5h.01',
  clock: 'M12 7v5l3 2M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0',
  pause: 'M9 5v14M15 5v14',
  play: 'M7 5l12 7-12 7z',
  out: 'M10 4H5v16h5M15 8l4 4-4 4M19 12H9',
  sun: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 2v2M12 20v2M4.9 4.9l1.4 1.4M17.7 17.7l1.4 1.4M2 12h2M20 12h2M4.9 19.1l1.4-1.4M17.7 6.3l1.4-1.4',
  up: 'M12 19V5M6 11l6-6 6 6',
  down: 'M12 5v14M6 13l6 6 6-6',
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
