// Stacked bars as SVG, with the numbers of the chosen bar in words and the whole as a table.

import { useEffect, useRef, useState } from 'preact/hooks';
import { Button } from './button.tsx';
import { Table } from './table.tsx';
import { compact, count } from './time.tsx';

/** One part of every bar. */
export interface Series {
  key: string;
  label: string;
  /** The colour: the end of a class name in `ui.css`. */
  look: 'header' | 'subprotocol' | 'message' | 'query';
}

export interface Bar {
  /** Below the bar. */
  label: string;
  /** In full. */
  name: string;
  values: Record<string, number>;
}

interface ChartProps {
  title: string;
  series: readonly Series[];
  bars: readonly Bar[];
  unit: string;
}

const HEIGHT = 240;
const LEFT = 44;
const RIGHT = 16;
const BOTTOM = 26;
const TOP = 10;

export function Chart({ title, series, bars, unit }: ChartProps) {
  const frame = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(720);
  const [chosen, setChosen] = useState(bars.length - 1);
  const [isTable, setTable] = useState(false);
  useEffect(() => {
    const element = frame.current;
    if (!element) return;
    const observer = new ResizeObserver(() => {
      setWidth(Math.max(240, element.clientWidth));
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
    };
  }, [isTable]);

  const totalOf = (bar: Bar) => series.reduce((sum, { key }) => sum + (bar.values[key] ?? 0), 0);
  const top = niceCeiling(Math.max(1, ...bars.map(totalOf)));
  const bar = bars[Math.min(chosen, bars.length - 1)];
  const table = (
    <Table
      caption={title}
      rows={bars}
      rowKey={(bar) => bar.name}
      columns={[
        { label: 'Day', cell: (bar) => bar.name, isHead: true },
        ...series.map(({ key, label }) => ({
          label,
          cell: (bar: Bar) => count(bar.values[key] ?? 0),
          isNumber: true,
        })),
      ]}
    />
  );

  return (
    <figure class="chart stack tight" aria-label={title}>
      <div class="row spread">
        <ul class="legend">
          {series.map(({ key, label, look }) => (
            <li key={key}>
              <span class={`swatch series-${look}`} />
              {label}
            </li>
          ))}
        </ul>
        <Button
          small
          look="plain"
          onClick={() => {
            setTable(!isTable);
          }}
        >
          {isTable ? 'Show as chart' : 'Show as table'}
        </Button>
      </div>
      {isTable ? (
        table
      ) : (
        <div ref={frame}>
          <Bars {...{ title, series, bars, width, top, chosen, setChosen }} />
        </div>
      )}
      {bar && !isTable && (
        <figcaption class="small soft" aria-live="polite">
          <strong>{bar.name}</strong>
          {': '}
          {series
            .filter(({ key }) => bar.values[key])
            .map(({ key, label }) => `${count(bar.values[key] ?? 0)} by ${label}`)
            .join(', ') || `no ${unit}`}
        </figcaption>
      )}
    </figure>
  );
}

interface BarsProps {
  title: string;
  series: readonly Series[];
  bars: readonly Bar[];
  width: number;
  top: number;
  chosen: number;
  setChosen: (index: number) => void;
}

function Bars({ title, series, bars, width, top, chosen, setChosen }: BarsProps) {
  const room = HEIGHT - TOP - BOTTOM;
  const step = (width - LEFT - RIGHT) / Math.max(1, bars.length);
  const thick = Math.max(3, Math.min(40, step * 0.68));
  const height = (value: number) => (value / top) * room;
  // So many labels that they do not touch.
  const every = Math.max(1, Math.ceil(52 / step));
  return (
    <svg
      role="img"
      aria-label={`${title}. The arrow keys choose a day.`}
      tabIndex={0}
      width={width}
      height={HEIGHT}
      viewBox={`0 0 ${width} ${HEIGHT}`}
      onKeyDown={(event) => {
        const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (move === undefined) return;
        event.preventDefault();
        setChosen(Math.max(0, Math.min(bars.length - 1, chosen + move)));
      }}
    >
      {[0, 0.5, 1].map((part) => (
        <g key={part}>
          <line class="grid" x1={LEFT} x2={width} y1={TOP + room * (1 - part)} y2={TOP + room * (1 - part)} />
          <text class="axis" x={LEFT - 8} y={TOP + room * (1 - part) + 4} text-anchor="end">
            {compact(top * part)}
          </text>
        </g>
      ))}
      {bars.map((bar, index) => {
        const left = LEFT + index * step + (step - thick) / 2;
        let floor = TOP + room;
        return (
          <g
            key={bar.name}
            onPointerEnter={() => {
              setChosen(index);
            }}
          >
            <rect
              class={index === chosen ? 'hit is-chosen' : 'hit'}
              x={LEFT + index * step}
              y={TOP}
              width={step}
              height={room}
            />
            {series.map(({ key, look }) => {
              const value = bar.values[key] ?? 0;
              if (value === 0) return null;
              // A few among thousands are still seen: they are what one looks for.
              const tall = Math.max(2, height(value));
              floor -= tall;
              return <rect key={key} class={`series-${look}`} x={left} y={floor} width={thick} height={tall} />;
            })}
            {(bars.length - 1 - index) % every === 0 && (
              <text class="axis" x={left + thick / 2} y={HEIGHT - 8} text-anchor="middle">
                {bar.label}
              </text>
            )}
          </g>
        );
      })}
    </svg>
  );
}

/** The next round number, so that the axis has round labels. */
export function niceCeiling(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 2, 3, 4, 6, 8, 10].find((step) => step * power >= value) ?? 10;
  return Math.max(2, step * power);
}
