// Package coordinator runs requesters' sessions, calls writers, providers and the hold in the order that makes a
// shadow copy set, and manages the copies afterwards. It knows them by interfaces: kinds of copies, writers, a
// holder, volumes.
//
// A creation is the table in steps.go, top to bottom; create.go has the steps as functions on one set, in that order.
// Every step names the state that its copies are in while it runs and after it, and has a limit of time. When a step
// fails, panics or doesn't return, the undo of every step that was begun runs, last first, so that the hold is
// released before anything else is done.
//
//	StartSnapshotSet      preparing
//	AddToSnapshotSet      preparing             BeginPrepareSnapshot of the chosen provider
//	DoSnapshotSet
//	  end-prepare         processing-prepare -> prepared
//	  open-volumes        prepared              guards started, volumes opened
//	  record-intent       prepared              what a crash must put back, durable
//	  set-flags           prepared              the shadow copy flags on the originals
//	  prepare-snapshot    prepared              writers
//	  preflush            prepared              nothing is held yet
//	  freeze              prepared              writers, level 3, 2, 1
//	  pre-commit          processing-precommit -> precommitted
//	  flush               precommitted
//	  hold                precommitted          FIFREEZE of all
//	  commit              processing-commit -> committed
//	  release             committed             FITHAW of all
//	  clear-flags         committed
//	  post-commit         processing-postcommit -> postcommitted
//	  verify-flags        postcommitted
//	  thaw                postcommitted         writers, level 1, 2, 3
//	  collect             postcommitted         the copies are in the catalogue
//	  import              postcommitted         not for transportable sets
//	  pre-recovery        postcommitted         where a writer recovers
//	  pre-final-commit    processing-prefinalcommit -> prefinalcommitted
//	  post-snapshot       prefinalcommitted     writers
//	  post-recovery       prefinalcommitted     read-only from here
//	  post-final-commit   processing-postfinalcommit  the complete set is in the catalogue first
//	  created             created               one transaction: the set exists
//
// A copy that leaves the table is aborted; one that is deleted goes created -> deleted before it is removed.
// Recovery (package recovery, and recover.go) runs first at every start: a set that was not complete is rolled back,
// one that was complete is finished.
package coordinator
