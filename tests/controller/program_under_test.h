// Runs a program as a child process and captures its output. Waits by reading standard error,
// without sleeping.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <vector>

extern char** environ;

namespace trunkline {

class ProgramUnderTest {
 public:
  // Where the program is: in the build, or in a folder of PATH.
  enum Place { kOfTheBuild, kOfTheSystem };
  explicit ProgramUnderTest(std::vector<std::string> arguments, Place place = kOfTheBuild) {
    if (place == kOfTheBuild) arguments[0] = std::string(TRUNKLINE_BIN_DIR) + "/" + arguments[0];
    int out[2], err[2];
    EXPECT_EQ(pipe2(out, O_CLOEXEC), 0);
    EXPECT_EQ(pipe2(err, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    posix_spawn_file_actions_adddup2(&actions, err[1], 2);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    EXPECT_EQ(posix_spawnp(&pid_, argv[0], &actions, nullptr, argv.data(), environ), 0) << argv[0];
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    close(err[1]);
    out_ = out[0];
    err_ = err[0];
  }
  ~ProgramUnderTest() {
    if (!ended_) {
      Kill(SIGKILL);
      Wait();
    }
    close(out_);
    close(err_);
  }
  ProgramUnderTest(const ProgramUnderTest&) = delete;
  ProgramUnderTest& operator=(const ProgramUnderTest&) = delete;

  void Kill(int signal) const { kill(pid_, signal); }

  // Reads all output. Returns the exit code, or the negative signal number.
  int Wait() {
    while (ReadSome()) {
    }
    int status = 0;
    waitpid(pid_, &status, 0);
    ended_ = true;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

  // Waits for a line of standard error with `mark` and returns the text after it.
  std::string AwaitErr(const std::string& mark) {
    for (;;) {
      const size_t at = err_text_.find(mark);
      const size_t end = at == std::string::npos ? at : err_text_.find('\n', at);
      if (end != std::string::npos) {
        return err_text_.substr(at + mark.size(), end - at - mark.size());
      }
      if (!ReadSome()) {
        ADD_FAILURE() << "no \"" << mark << "\" in: " << err_text_;
        return "";
      }
    }
  }
  const std::string& out() const { return out_text_; }
  const std::string& err() const { return err_text_; }

 private:
  static constexpr int kPatienceMs = 20000;

  // Returns false at the end of both streams, or after a timeout.
  bool ReadSome() {
    pollfd polled[] = {{out_done_ ? -1 : out_, POLLIN, 0}, {err_done_ ? -1 : err_, POLLIN, 0}};
    if (out_done_ && err_done_) return false;
    if (poll(polled, 2, kPatienceMs) <= 0) return false;
    if (polled[0].revents != 0) out_done_ = !Take(out_, &out_text_);
    if (polled[1].revents != 0) err_done_ = !Take(err_, &err_text_);
    return true;
  }
  static bool Take(int fd, std::string* text) {
    char buffer[4096];
    const ssize_t n = read(fd, buffer, sizeof(buffer));
    if (n <= 0) return false;
    text->append(buffer, static_cast<size_t>(n));
    return true;
  }

  pid_t pid_ = 0;
  int out_ = -1, err_ = -1;
  bool out_done_ = false, err_done_ = false, ended_ = false;
  std::string out_text_, err_text_;
};

}  // namespace trunkline
