import { Page } from '../shell.tsx';
import { EmptyState } from '../ui/notice.tsx';

export function NotFound() {
  return (
    <Page title="There is no such screen">
      <section class="card">
        <EmptyState title="The address leads nowhere">
          <p>
            It may be from another version. Start at the <a href="/">overview</a>.
          </p>
        </EmptyState>
      </section>
    </Page>
  );
}
