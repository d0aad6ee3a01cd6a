// A program that a test starts, reads and stops. Standard output and error are one stream.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "common/base/unique_fd.h"

extern char** environ;

namespace trunkline::test {

class ChildProcess {
 public:
  explicit ChildProcess(std::vector<std::string> arguments) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) abort();
    output_.Reset(ends[0]);
    UniqueFd write_end(ends[1]);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    if (posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), environ) != 0) pid_ = -1;
    posix_spawn_file_actions_destroy(&actions);
  }
  ~ChildProcess() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    Wait();
  }
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  void Signal(int signal) { kill(pid_, signal); }

  // Reads one line; returns "" at the end of the output.
  std::string ReadLine() {
    std::string line;
    char c;
    while (read(output_.get(), &c, 1) == 1 && c != '\n') line.push_back(c);
    return line;
  }

  // Returns the exit code (128 + signal, as in shells) and the rest of the output.
  std::pair<int, std::string> Finish() {
    std::string rest;
    char piece[4096];
    for (ssize_t n; (n = read(output_.get(), piece, sizeof(piece))) > 0;) {
      rest.append(piece, static_cast<size_t>(n));
    }
    return {Wait(), rest};
  }

 private:
  int Wait() {
    int status = 0;
    if (pid_ <= 0 || waitpid(pid_, &status, 0) != pid_) return -1;
    pid_ = -1;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }

  pid_t pid_ = -1;
  UniqueFd output_;
};

}  // namespace trunkline::test
