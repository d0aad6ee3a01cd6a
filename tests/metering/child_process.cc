#include "tests/metering/child_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace trunkline::metering {

ChildProcess::ChildProcess(const std::string& program, const std::vector<std::string>& arguments) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) abort();
  std::vector<char*> argv = {const_cast<char*>(program.c_str())};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  pid_ = fork();
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(ends[1], STDOUT_FILENO);
    execv(program.c_str(), argv.data());
    _exit(127);
  }
  close(ends[1]);
  output_ = fdopen(ends[0], "r");
}

ChildProcess::~ChildProcess() {
  Signal(SIGKILL);
  Wait();
  fclose(output_);
}

std::string ChildProcess::ReadLine() {
  std::string line;
  for (int c = getc(output_); c != EOF && c != '\n'; c = getc(output_)) {
    line += static_cast<char>(c);
  }
  return line;
}

std::string ChildProcess::ReadAll() {
  std::string text;
  for (int c = getc(output_); c != EOF; c = getc(output_)) text += static_cast<char>(c);
  return text;
}

void ChildProcess::Signal(int signal) {
  if (pid_ > 0) kill(pid_, signal);
}

int ChildProcess::Wait() {
  if (pid_ <= 0) return -1;
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

Address AwaitListening(ChildProcess& server) {
  const std::string line = server.ReadLine();
  const std::string prefix = "listening on ";
  EXPECT_EQ(line.substr(0, prefix.size()), prefix) << line;
  auto address = ParseAddress(line.substr(std::min(line.size(), prefix.size())));
  EXPECT_TRUE(address.ok()) << address.status();
  return address.ok() ? *address : Address();
}

}  // namespace trunkline::metering
