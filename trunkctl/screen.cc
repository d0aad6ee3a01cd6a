#include "trunkctl/screen.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <iostream>
#include <string>

#include "absl/time/time.h"

namespace trunkline {
namespace {

constexpr std::array kSignals = {SIGINT, SIGTERM, SIGWINCH};

// A handler may only write: the byte says which signal came. Both ends are non-blocking.
int signal_pipe[2] = {-1, -1};

void OnSignal(int number) {
  const int saved = errno;
  const char byte = static_cast<char>(number);
  // If the pipe is full, Await is about to read signals anyway.
  [[maybe_unused]] const ssize_t written = write(signal_pipe[1], &byte, 1);
  errno = saved;
}

void Handle(void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  for (const int number : kSignals) sigaction(number, &action, nullptr);
}

// Escape sequences of xterm, which all terminals of today know.
constexpr const char* kEnter = "\x1b[?1049h\x1b[?25l";
constexpr const char* kLeave = "\x1b[?25h\x1b[?1049l";
constexpr const char* kHome = "\x1b[H";
constexpr const char* kClearLine = "\x1b[K";
constexpr const char* kClearRest = "\x1b[J";

}  // namespace

bool Screen::Available() { return isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1; }

Screen::Screen() {
  if (pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) == 0) Handle(OnSignal);
  if (tcgetattr(STDIN_FILENO, &shell_mode_) == 0) {
    termios mode = shell_mode_;
    mode.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    tcsetattr(STDIN_FILENO, TCSANOW, &mode);
  }
  std::cout << kEnter << std::flush;
}

Screen::~Screen() {
  std::cout << kLeave << std::flush;
  tcsetattr(STDIN_FILENO, TCSANOW, &shell_mode_);
  Handle(SIG_DFL);
  for (int& end : signal_pipe) {
    if (end >= 0) close(end);
    end = -1;
  }
}

Screen::Size Screen::size() const {
  winsize size = {};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return {};
  return {size.ws_row, size.ws_col};
}

void Screen::Draw(const std::string& text) {
  std::string out = kHome;
  for (const char byte : text) {
    if (byte == '\n') out += kClearLine;
    out += byte;
  }
  // A newline on the last line would scroll.
  if (!text.empty() && text.back() == '\n') out.pop_back();
  std::cout << out << kClearRest << std::flush;
}

Screen::Event Screen::Await(absl::Duration time) {
  std::array<pollfd, 2> sources = {{{STDIN_FILENO, POLLIN, 0}, {signal_pipe[0], POLLIN, 0}}};
  const int milliseconds = static_cast<int>(absl::ToInt64Milliseconds(time));
  if (poll(sources.data(), sources.size(), milliseconds) <= 0) return {};
  char byte = 0;
  if (sources[1].revents != 0 && read(signal_pipe[0], &byte, 1) == 1) {
    return {byte == SIGWINCH ? Event::Kind::kResized : Event::Kind::kQuit};
  }
  if (sources[0].revents == 0) return {};
  if (read(STDIN_FILENO, &byte, 1) != 1) return {Event::Kind::kQuit};
  return {Event::Kind::kKey, byte};
}

}  // namespace trunkline
