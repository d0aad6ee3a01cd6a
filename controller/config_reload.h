// Reloads the controller's configuration at SIGHUP and at an operator's order.
//
// Reads and checks the file on the thread of main. A file with an error changes nothing. A good one
// is put into service by the control loop: agents announce themselves again, and everything learned
// is kept, as in a restart. Thread-safe, except Run.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/observe/metrics_page.h"
#include "controller/loop/control_loop.h"
#include "trunkline/v1/config.pb.h"

namespace trunkline {

class ConfigReload {
 public:
  using Done = ControlLoop::AdminDone;

  // `path` is the file that `config` was read from. `loop` outlives this. `wake` makes main call
  // Run; it is called on any thread.
  ConfigReload(std::string path, v1::ControllerConfig config, ControlLoop& loop,
               std::function<void()> wake);

  // Asks for a reload. `done` gets the first snapshot with the new configuration, or the errors in
  // the file. After Stop, it gets UNAVAILABLE.
  void Request(Done done);
  // Reloads and answers all requests made so far: the file is read after they were made. Called by
  // main.
  void Run();
  // Answers requests that were not served, and refuses later ones.
  void Stop();

  void Collect(MetricsWriter& writer) const;

 private:
  // Reads the file and hands it to the loop, which calls `done`. On an error `done` is not called.
  absl::Status Reload(Done done);
  void Count(const absl::Status& status);
  // Returns the requests that wait, and forgets them.
  std::vector<Done> TakeWaiting();

  const std::string path_;
  // Confined to main: the configuration whose listeners and files are in use.
  const v1::ControllerConfig started_with_;
  ControlLoop& loop_;
  const std::function<void()> wake_;

  mutable absl::Mutex mutex_;
  std::vector<Done> waiting_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t successes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t failures_ ABSL_GUARDED_BY(mutex_) = 0;
  bool last_failed_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time last_success_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace trunkline
