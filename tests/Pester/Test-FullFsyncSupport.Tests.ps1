BeforeAll {
    . (Join-Path $PSScriptRoot 'Common.ps1')
    $folder = Join-Path $TestDrive 'place'
    New-Playground $folder
}

Describe 'Test-FullFsyncSupport' {
    It 'answers with one Boolean for each path, and leaves nothing behind' {
        $before = (Get-ChildItem $folder -Force).Name
        $answer = Test-FullFsyncSupport $folder, (Join-Path $folder 'Backups')
        $answer | Should -HaveCount 2
        $answer | Should -BeOfType [bool]
        (Get-ChildItem $folder -Force).Name | Should -Be $before
    }

    It 'says with -Detailed what was asked, of what, and what to do' {
        $report = Test-FullFsyncSupport $folder -Detailed
        $report.Path | Should -Be $folder
        $report.MountPoint | Should -Not -BeNullOrEmpty
        $report.FileSystemType | Should -Not -BeNullOrEmpty
        $report.Method | Should -BeIn 'fcntl(F_FULLFSYNC)', 'fsync', 'FlushFileBuffers'
        [bool](Test-FullFsyncSupport $folder) | Should -Be ($report.Support -in 'Yes', 'Equivalent')
        if ($report.Support -ne 'Yes') { $report.Advice | Should -Not -BeNullOrEmpty }
    }

    It 'never claims a yes for memory' -Skip:(-not (Test-Path /dev/shm)) {
        Test-FullFsyncSupport /dev/shm | Should -BeFalse
        (Test-FullFsyncSupport /dev/shm -Detailed).Support | Should -Be 'NotDeterminable'
    }

    It 'takes images from the pipeline: their folder is asked' {
        $image = Get-Item (Join-Path $folder 'Backups/Documents.sparsebundle') | Get-BackupImage
        ($image | Test-FullFsyncSupport -Detailed).Path | Should -Be $image.Path
        ($image | ConvertTo-Deserialised | Test-FullFsyncSupport) | Should -BeOfType [bool]
        (Get-ChildItem $image.Path -Force).Name | Should -Be 'bands', 'Info.bckup', 'Info.plist', 'token'
    }

    It 'names a folder that is not there' {
        { Test-FullFsyncSupport (Join-Path $folder 'nothing') -ErrorAction Stop } | Should -Throw -ErrorId 'ImageNotFound*'
    }

    It 'really asks a Mac' -Tag MacOS {
        $report = Test-FullFsyncSupport $HOME -Detailed
        $report.Method | Should -Be 'fcntl(F_FULLFSYNC)'
        $report.Support | Should -Be 'Yes'
    }
}
