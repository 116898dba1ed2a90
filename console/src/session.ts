// Who is signed in, and what that person may do.

import { computed, signal } from '@preact/signals';
import { ApiError, call, isSignedOut } from './api/client.ts';
import type { Me, Role } from './api/types.ts';

/** Nothing yet, nobody, or somebody. */
export const me = signal<Me | null | undefined>(undefined);

const RANK: Record<Role, number> = { viewer: 0, operator: 1, admin: 2 };

/** Whether the one who is signed in has at least this role; the server asks the same question again. */
export const may = (role: Role): boolean => me.value != null && RANK[me.value.role] >= RANK[role];

export const isSignedIn = computed(() => me.value != null && !isSignedOut.value);

/** Asks who this is. */
export async function whoAmI(): Promise<void> {
  try {
    welcome(await call<Me>('GET', '/me'));
  } catch (error) {
    if (!(error instanceof ApiError) || error.problem.status !== 401) throw error;
    isSignedOut.value = false;
    me.value = null;
  }
}

/** Takes up a session. */
export function welcome(somebody: Me): void {
  isSignedOut.value = false;
  me.value = somebody;
}

/** Ends the session here and on the server. */
export async function signOut(): Promise<void> {
  await call('DELETE', '/sign-in');
  me.value = null;
}
