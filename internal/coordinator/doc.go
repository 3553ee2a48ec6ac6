// Package coordinator is the heart of the Volume Shadow Copy Service: it runs requesters' sessions, brings writers,
// providers and the hold together in the one order that makes a shadow copy set, and manages the copies for life.
//
// A creation is the table in steps.go, top to bottom; create.go has the steps as named functions on one set, in that
// order. Every step names the state that its copies are in while it runs and after it; a failure runs the undo of every
// step that was begun, last first, so that the hold is released before anything else is done.
//
//	StartSnapshotSet      preparing
//	AddToSnapshotSet      preparing             BeginPrepareSnapshot of the chosen provider
//	DoSnapshotSet
//	  end-prepare         processing-prepare -> prepared
//	  open-volumes        prepared              guards started, volumes opened
//	  record-intent       prepared              originals' identities and flags, durable
//	  set-flags           prepared              the four flags on the originals
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
//	  target-luns         postcommitted         the copies' LUNs are in the catalogue
//	  import              postcommitted         not for transportable sets
//	  pre-recovery        postcommitted         where a writer recovers
//	  pre-final-commit    processing-prefinalcommit -> prefinalcommitted
//	  post-snapshot       prefinalcommitted     writers
//	  post-recovery       prefinalcommitted     read-only from here
//	  post-final-commit   processing-postfinalcommit
//	  created             created               one transaction: the set exists
//
// A copy that leaves the table is aborted; one that is deleted goes created -> deleted before its LUN goes.
// Recovery (recover.go) runs first at every start: a set without its last transaction never was.
package coordinator
