// A program for program_test: starts, prints its id and stops.
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <iostream>

#include "common/observe/log.h"
#include "common/program/program.h"
#include "trunkline/v1/config.pb.h"

int main(int argc, char** argv) {
  trunkline::v1::ProxyConfig config;
  trunkline::Program program("program-under-test", "Starts and stops.");
  if (auto exit_code = program.Start(argc, argv, &config)) return *exit_code;
  if (config.proxy_id() == "fails") return program.Fail("failed as configured");

  raise(SIGPIPE);
  rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  std::cout << "id " << config.proxy_id() << " descriptors "
            << (limit.rlim_cur == limit.rlim_max ? "raised" : "not raised") << std::endl;
  trunkline::LogDebug("debugging");
  program.WaitForStop();
  if (config.proxy_id() == "hangs") {
    std::cout << "stopping" << std::endl;
    while (true) pause();
  }
  return 0;
}
