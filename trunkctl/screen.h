// The terminal of a command that draws over itself: an alternate screen, keys without Enter, and
// the way back to the shell's screen when the command ends.
//
// Confined to the main thread. One object at a time: it owns the terminal's mode and the handlers
// of SIGINT, SIGTERM and SIGWINCH until its end.
#pragma once

#include <termios.h>

#include <cstddef>
#include <string>

#include "absl/time/time.h"

namespace trunkline {

class Screen {
 public:
  struct Size {
    size_t lines = 0;
    size_t columns = 0;
  };
  struct Event {
    enum class Kind { kTimeout, kKey, kResized, kQuit };
    Kind kind = Kind::kTimeout;
    // For kKey.
    char key = 0;
  };

  // True if standard input and output are terminals.
  static bool Available();

  Screen();
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  // Zeros if the terminal does not tell.
  Size size() const;
  // Replaces the content of the screen.
  void Draw(const std::string& text);
  // Waits for a key, a signal or the end of the time. SIGINT, SIGTERM, and the end of standard
  // input are kQuit.
  Event Await(absl::Duration time);

 private:
  termios shell_mode_ = {};
};

}  // namespace trunkline
