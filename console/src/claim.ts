// The secret of the first visit stands in the URL's fragment, which no server, proxy or `Referer` ever sees. The history of the
// browser would keep it, so it is taken out at once.

/** Takes the claim of `/#claim=…` out of the address bar and out of the history's entry. */
export function takeClaim(): string | undefined {
  const given = new URLSearchParams(location.hash.slice(1)).get('claim');
  if (location.hash) history.replaceState(null, '', location.pathname + location.search);
  return given ?? undefined;
}

/** What this page was opened with. */
export const claim = takeClaim();
