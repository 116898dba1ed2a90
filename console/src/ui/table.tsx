// Rows and columns; on a narrow screen each row is a card. The roles are written out because a changed `display` takes them away.

import type { ComponentChildren } from 'preact';
import type { Pages } from '../api/query.ts';
import { Button } from './button.tsx';
import { Icon } from './icon.tsx';
import { Loading, ProblemNotice } from './notice.tsx';

/** One column of rows of `T`. */
export interface Column<T> {
  label: string;
  cell: (row: T) => ComponentChildren;
  /** Numbers stand on the right. */
  isNumber?: boolean;
  /** The one that names the row. */
  isHead?: boolean;
  /** Without its label where rows are cards: buttons. */
  isBare?: boolean;
  /** What the list is sorted by when this heading is pressed. */
  sort?: string;
}

interface TableProps<T> {
  /** What is listed, for screen readers. */
  caption: string;
  columns: readonly Column<T>[];
  rows: readonly T[];
  rowKey: (row: T) => string | number;
  /** The sort that is in force: a column's `sort`, with `-` before it for downwards. */
  sort?: string;
  onSort?: (sort: string) => void;
}

export function Table<T>({ caption, columns, rows, rowKey, sort, onSort }: TableProps<T>) {
  return (
    <div class="table-frame cards">
      <table role="table">
        <caption class="hidden">{caption}</caption>
        <thead role="rowgroup">
          <tr role="row">
            {columns.map((column) => (
              <th
                key={column.label}
                scope="col"
                role="columnheader"
                class={column.isNumber ? 'number' : undefined}
                aria-sort={directionOf(column.sort, sort)}
              >
                <Heading column={column} sort={sort} onSort={onSort} />
              </th>
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup">
          {rows.map((row) => (
            <tr key={rowKey(row)} role="row">
              {columns.map((column) =>
                column.isHead ? (
                  <th key={column.label} scope="row" role="rowheader">
                    {column.cell(row)}
                  </th>
                ) : (
                  <td
                    key={column.label}
                    role="cell"
                    data-label={column.label}
                    class={
                      [column.isNumber && 'number', column.isBare && 'bare'].filter(Boolean).join(' ') || undefined
                    }
                  >
                    <div>{column.cell(row)}</div>
                  </td>
                ),
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

interface HeadingProps<T> {
  column: Column<T>;
  sort: string | undefined;
  onSort: ((sort: string) => void) | undefined;
}

function Heading<T>({ column, sort, onSort }: HeadingProps<T>) {
  const { label, isBare } = column;
  if (isBare) return <span class="hidden">{label}</span>;
  if (column.sort === undefined || !onSort) return <>{label}</>;
  const direction = directionOf(column.sort, sort);
  const next = direction === 'ascending' ? `-${column.sort}` : column.sort;
  return (
    <button
      type="button"
      class="sort"
      onClick={() => {
        onSort(next);
      }}
    >
      {label}
      {direction && <Icon name={direction === 'ascending' ? 'up' : 'down'} />}
    </button>
  );
}

function directionOf(column: string | undefined, sort: string | undefined): 'ascending' | 'descending' | undefined {
  if (column === undefined || sort === undefined) return;
  if (sort === column) return 'ascending';
  return sort === `-${column}` ? 'descending' : undefined;
}

interface PagedProps<T> extends Omit<TableProps<T>, 'rows'> {
  pages: Pages<T>;
  /** What is shown when there is no row at all. */
  empty: ComponentChildren;
}

/** A table of a list that comes in pages. */
export function PagedTable<T>({ pages, empty, ...rest }: PagedProps<T>) {
  const { rows, problem, next, previous, number, reload } = pages;
  if (problem && !rows) {
    return (
      <div class="inside">
        <ProblemNotice problem={problem} onRetry={reload} />
      </div>
    );
  }
  if (!rows) return <Loading what={rest.caption.toLowerCase()} />;
  return (
    <>
      {problem && <ProblemNotice problem={problem} onRetry={reload} />}
      {rows.length === 0 && number === 1 ? empty : <Table {...rest} rows={rows} />}
      {(next ?? previous) && (
        <nav class="pager" aria-label={`Pages of ${rest.caption.toLowerCase()}`}>
          <span class="soft small">Page {number}</span>
          <Button small disabled={!previous} onClick={() => previous?.()}>
            Previous
          </Button>
          <Button small disabled={!next} onClick={() => next?.()}>
            Next
          </Button>
        </nav>
      )}
    </>
  );
}
