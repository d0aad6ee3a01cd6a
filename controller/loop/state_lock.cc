#include "controller/loop/state_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstddef>
#include <random>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "common/base/unique_fd.h"
#include "common/config/names.h"

namespace trunkline {
namespace {

constexpr char kSuffix[] = ".lock";
// Begins the ids that a controller generates. An operator's name takes their place.
constexpr char kGenerated[] = "generated-";

absl::Status Failed(absl::string_view what, absl::string_view path) {
  return absl::ErrnoToStatus(errno, absl::StrCat("state_file: ", what, " ", path));
}

std::string GenerateId() {
  std::random_device random;
  return absl::StrFormat("%s%08x%08x", kGenerated, random(), random());
}

std::string Quote(const std::string& id) { return absl::StrCat("\"", absl::CEscape(id), "\""); }

}  // namespace

absl::StatusOr<StateLock> StateLock::Take(const std::string& state_file) {
  const std::string path = state_file + kSuffix;
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!fd) return Failed("open the lock", path);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return Failed("lock", path);
    return absl::FailedPreconditionError(absl::StrCat(
        "state_file ", state_file, ": another controller uses it and holds ", path,
        ". Two controllers would overwrite each other's drains and pins. Stop the other one, or "
        "set state_file to a file that only this controller uses"));
  }
  StateLock lock(path, std::move(fd));
  if (absl::Status read = lock.ReadClusterId(); !read.ok()) return read;
  return lock;
}

absl::Status StateLock::ReadClusterId() {
  char text[kMaxNameLength + 1];
  const ssize_t n = ::pread(fd_.get(), text, sizeof(text), 0);
  if (n < 0) return Failed("read", path_);
  const std::string id(absl::StripAsciiWhitespace(absl::string_view(text, static_cast<size_t>(n))));
  // A crash or a full disk may have left half an id; the state file has it as well.
  if (IsName(id)) cluster_id_ = id;
  return absl::OkStatus();
}

absl::Status StateLock::SetClusterId(const std::string& id) {
  if (id == cluster_id_) return absl::OkStatus();
  const std::string text = id + "\n";
  const auto size = static_cast<ssize_t>(text.size());
  if (::pwrite(fd_.get(), text.data(), text.size(), 0) != size) return Failed("write", path_);
  if (::ftruncate(fd_.get(), size) != 0) return Failed("truncate", path_);
  cluster_id_ = id;
  return absl::OkStatus();
}

absl::StatusOr<std::string> ChooseClusterId(const std::string& state_file,
                                            const std::string& configured,
                                            const std::string& stored, const std::string& locked) {
  const bool copied = !stored.empty() && !locked.empty() && stored != locked;
  if (copied && stored != configured) {
    return absl::FailedPreconditionError(absl::StrCat(
        "state_file ", state_file, " is the state of cluster ", Quote(stored),
        ", but this controller belongs to cluster ", Quote(locked), ", as ", state_file, kSuffix,
        " says: the file was copied from another cluster. Restore this cluster's own file, or move "
        "the file away to start without one. To use the state of the other cluster, remove ",
        state_file, kSuffix));
  }
  const bool renamed = !configured.empty() && !stored.empty() && stored != configured;
  if (renamed && !absl::StartsWith(stored, kGenerated)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "state_file ", state_file, " is the state of cluster ", Quote(stored),
        ", but cluster_id is ", Quote(configured),
        ". Set state_file to the file of this cluster, or move the file away to start without one. "
        "If the cluster was renamed, write the new name into cluster_id of the state file"));
  }
  for (const std::string& id : {configured, stored, locked}) {
    if (!id.empty()) return id;
  }
  return GenerateId();
}

}  // namespace trunkline
