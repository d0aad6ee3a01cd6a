// A real process under test: its standard output is read line by line; it never outlives its test.
#pragma once

#include <sys/types.h>

#include <cstdio>
#include <string>
#include <vector>

#include "common/address.h"

namespace trunkline::metering {

class ChildProcess {
 public:
  // `arguments` without the program's name.
  ChildProcess(const std::string& program, const std::vector<std::string>& arguments);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // Without the newline; empty at the end of the output.
  std::string ReadLine();
  // The rest of the output.
  std::string ReadAll();
  void Signal(int signal);
  // The exit code, or 128 + the signal that ended it.
  int Wait();

 private:
  pid_t pid_ = -1;
  FILE* output_ = nullptr;
};

// Reads "listening on ADDRESS".
Address AwaitListening(ChildProcess& server);

}  // namespace trunkline::metering
