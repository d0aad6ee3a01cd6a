// Invariants that release builds check as well.
//
// A failed TRUNKLINE_CHECK is a bug in Trunkline, never an error of a peer, a file or the system:
// those are a Status. Going on with broken state could send one client's bytes to another, so the
// process prints where and what failed to stderr and aborts. A check costs one predicted branch;
// the failure is out of line. Thread-safe.
#pragma once

namespace trunkline {

// Prints "FILE:LINE: check failed: CONDITION: TEXT" and aborts. Does not allocate. Aborts without
// the message if stderr accepts none for a second.
[[noreturn, gnu::cold, gnu::noinline]] void FailCheck(const char* file, int line,
                                                      const char* condition, const char* text);

}  // namespace trunkline

// Aborts unless `condition` holds. `text` is a string literal that states the invariant. The
// condition is always evaluated, once.
#define TRUNKLINE_CHECK(condition, text)                \
  (__builtin_expect(static_cast<bool>(condition), true) \
       ? static_cast<void>(0)                           \
       : ::trunkline::FailCheck(__FILE__, __LINE__, #condition, text))
