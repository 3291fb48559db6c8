BeforeAll {
    . (Join-Path $PSScriptRoot 'Common.ps1')
    $folder = Join-Path $TestDrive 'play'
    New-Playground $folder
    $disk = Join-Path $folder 'Backups/Disk.dmg'
}

Describe 'Get-BackupImage' {
    It 'tells the facts of a compressed image' {
        $image = Get-BackupImage $disk
        $image.Path | Should -Be $disk
        $image.Format | Should -Be 'ReadOnlyZlib'
        $image.StoredBytes | Should -Be (Get-Item $disk).Length
        $image.PartitionScheme | Should -Be 'Gpt'
        $image.Encryption | Should -Be 'None'
        $image.Volumes[0].Kind | Should -Be 'HfsPlus'
        $image.Volumes[0].Name | Should -Be 'Documents'
        $image.Volumes[0].IsJournaled | Should -BeTrue
        $image.UsedBytes + $image.FreeBytes | Should -BeLessOrEqual $image.CapacityBytes
        $image.Report | Should -BeNullOrEmpty
    }

    It 'resolves wildcards' { @(Get-BackupImage (Join-Path $folder 'Backups/*.sparse*')).Format | Should -Be 'SparseBundle', 'Sparse' }

    It 'is silent about a pattern that matches nothing' {
        Get-BackupImage (Join-Path $folder '*.nosuch') -ErrorVariable errors -ErrorAction SilentlyContinue | Should -BeNullOrEmpty
        $errors | Should -BeNullOrEmpty
    }

    It 'takes objects of files, bundles and images, and strings' {
        (Get-Item $disk | Get-BackupImage).Path | Should -Be $disk
        ($disk | Get-BackupImage | Get-BackupImage).Path | Should -Be $disk
        (Get-ChildItem (Join-Path $folder 'Backups') | Get-BackupImage).Count | Should -Be 3
    }

    It 'takes names with wildcard characters, literally and from file objects' {
        $odd = Join-Path $folder 'odd[1].dmg'
        Copy-Item -LiteralPath $disk $odd
        (Get-BackupImage -LiteralPath $odd).Path | Should -Be $odd
        (Get-Item -LiteralPath $odd | Get-BackupImage).Path | Should -Be $odd
        (Get-BackupImage $odd).Path | Should -Be $odd
    }

    It 'says ImageNotFound for a file that is not there, and goes on' {
        $missing = Join-Path $folder 'nosuch.dmg'
        $found = Get-BackupImage $missing, $disk -ErrorVariable errors -ErrorAction SilentlyContinue
        $found.Path | Should -Be $disk
        $errors[0].FullyQualifiedErrorId | Should -Be 'ImageNotFound,CCImage.Commands.GetBackupImageCommand'
        $errors[0].CategoryInfo.Category | Should -Be 'ObjectNotFound'
        $errors[0].TargetObject | Should -Be $missing
        $errors[0].ErrorDetails.RecommendedAction | Should -Not -BeNullOrEmpty
    }

    It 'says UnknownFormat for a file that is no image' {
        $text = Join-Path $folder 'text.dmg'
        Set-Content $text ('no image ' * 1000)
        { Get-BackupImage $text -ErrorAction Stop } | Should -Throw -ErrorId 'UnknownFormat,*'
    }

    It 'says ImageDamaged or UnknownFormat for an image cut short' {
        $short = Join-Path $folder 'short.sparseimage'
        $bytes = [IO.File]::ReadAllBytes((Join-Path $folder 'Backups/Photos.sparseimage'))
        [IO.File]::WriteAllBytes($short, $bytes[0..4099])
        { Get-BackupImage $short -ErrorAction Stop } | Should -Throw -ErrorId 'ImageDamaged,*'
    }

    It 'refuses paths that are not of a file system' { { Get-BackupImage env:PATH -ErrorAction Stop } | Should -Throw -ErrorId 'InvalidArgument,*' }

    It 'refuses a drive that does not exist' { { Get-BackupImage nodrive:/a.dmg -ErrorAction Stop } | Should -Throw -ErrorId 'InvalidArgument,*' }

    It 'lets a command further down stop it' { (Get-BackupImage (Join-Path $folder 'Backups/*') | Select-Object -First 1) | Should -HaveCount 1 }
}
